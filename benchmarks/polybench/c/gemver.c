// A changed by two outer products; x += beta A^T y + z; w += alpha A x. The caller's w is any, so it is set to zero first.
static void gemver(int n, double A[restrict N][N], const double u1[restrict N], const double v1[restrict N],
                   const double u2[restrict N], const double v2[restrict N], double x[restrict N], const double y[restrict N],
                   const double z[restrict N], double alpha, double beta, double w[restrict N]) {
#pragma scop
  for (int i = 0; i < n; i++)
    w[i] = 0.0;
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      A[i][j] = A[i][j] + u1[i] * v1[j] + u2[i] * v2[j];
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      x[i] = x[i] + beta * A[j][i] * y[j];
  for (int i = 0; i < n; i++)
    x[i] = x[i] + z[i];
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      w[i] = w[i] + alpha * A[i][j] * x[j];
#pragma endscop
}
