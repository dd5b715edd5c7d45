// C := alpha S B + beta C, S given by the lower triangle of A: what lies above is scattered into earlier rows.
static void symm(int m, int n, double C[restrict M][N], const double A[restrict M][M], const double B[restrict M][N],
                 double alpha, double beta) {
  double below;
#pragma scop
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++) {
      below = 0.0;
      for (int k = 0; k < i; k++) {
        C[k][j] += alpha * B[i][j] * A[i][k];
        below += B[k][j] * A[i][k];
      }
      C[i][j] = beta * C[i][j] + alpha * B[i][j] * A[i][i] + alpha * below;
    }
#pragma endscop
}
