// C := alpha A B + beta C: row by row, the product as updates of a row.
static void gemm(int ni, int nj, int nk, double C[restrict NI][NJ], const double A[restrict NI][NK],
                 const double B[restrict NK][NJ], double alpha, double beta) {
#pragma scop
  for (int i = 0; i < ni; i++) {
    for (int j = 0; j < nj; j++)
      C[i][j] *= beta;
    for (int k = 0; k < nk; k++)
      for (int j = 0; j < nj; j++)
        C[i][j] += alpha * A[i][k] * B[k][j];
  }
#pragma endscop
}
