// y = alpha A x + beta B x, both products in one pass.
static double Ax[N];

static void gesummv(int n, const double A[restrict N][N], const double B[restrict N][N], const double x[restrict N], double alpha,
                    double beta, double y[restrict N]) {
#pragma scop
  for (int i = 0; i < n; i++) {
    Ax[i] = 0.0;
    y[i] = 0.0;
    for (int j = 0; j < n; j++) {
      Ax[i] += A[i][j] * x[j];
      y[i] += B[i][j] * x[j];
    }
    y[i] = alpha * Ax[i] + beta * y[i];
  }
#pragma endscop
}
