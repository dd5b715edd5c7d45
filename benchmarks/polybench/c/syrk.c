// C := alpha A A^T + beta C in the lower triangle, a column of A at a time.
static void syrk(int m, int n, double C[restrict N][N], const double A[restrict N][M], double alpha, double beta) {
#pragma scop
  for (int i = 0; i < n; i++) {
    for (int j = 0; j <= i; j++)
      C[i][j] *= beta;
    for (int k = 0; k < m; k++)
      for (int j = 0; j <= i; j++)
        C[i][j] += alpha * A[i][k] * A[j][k];
  }
#pragma endscop
}
