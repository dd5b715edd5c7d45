// B := alpha A^T B, A lower triangular with ones on its diagonal.
static void trmm(int m, int n, const double A[restrict M][M], double B[restrict M][N], double alpha) {
#pragma scop
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++) {
      for (int k = i + 1; k < m; k++)
        B[i][j] += A[k][i] * B[k][j];
      B[i][j] = alpha * B[i][j];
    }
#pragma endscop
}
