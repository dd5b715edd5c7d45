// C := alpha (A B^T + B A^T) + beta C in the lower triangle, a column of A and B at a time.
static void syr2k(int m, int n, double C[restrict N][N], const double A[restrict N][M], const double B[restrict N][M],
                  double alpha, double beta) {
#pragma scop
  for (int i = 0; i < n; i++) {
    for (int j = 0; j <= i; j++)
      C[i][j] *= beta;
    for (int k = 0; k < m; k++)
      for (int j = 0; j <= i; j++)
        C[i][j] += A[j][k] * alpha * B[i][k] + B[j][k] * alpha * A[i][k];
  }
#pragma endscop
}
