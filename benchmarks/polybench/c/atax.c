// y = A^T (A x): each row of A is used for its product with x, then added to y.
static double Ax[M];

static void atax(int m, int n, const double A[restrict M][N], const double x[restrict N], double y[restrict N]) {
#pragma scop
  for (int j = 0; j < n; j++)
    y[j] = 0.0;
  for (int i = 0; i < m; i++) {
    Ax[i] = 0.0;
    for (int j = 0; j < n; j++)
      Ax[i] += A[i][j] * x[j];
    for (int j = 0; j < n; j++)
      y[j] += A[i][j] * Ax[i];
  }
#pragma endscop
}
