// s = A^T r and q = A p in one pass over A.
static void bicg(int m, int n, const double A[restrict N][M], const double p[restrict M], const double r[restrict N],
                 double s[restrict M], double q[restrict N]) {
#pragma scop
  for (int j = 0; j < m; j++)
    s[j] = 0.0;
  for (int i = 0; i < n; i++) {
    q[i] = 0.0;
    for (int j = 0; j < m; j++) {
      s[j] += r[i] * A[i][j];
      q[i] += A[i][j] * p[j];
    }
  }
#pragma endscop
}
