// D := alpha A B C + beta D: two products, every element as a sum.
static double AB[NI][NJ];

static void k2mm(int ni, int nj, int nk, int nl, const double A[restrict NI][NK], const double B[restrict NK][NJ],
                 const double C[restrict NJ][NL], double D[restrict NI][NL], double alpha, double beta) {
#pragma scop
  for (int i = 0; i < ni; i++)
    for (int j = 0; j < nj; j++) {
      AB[i][j] = 0.0;
      for (int k = 0; k < nk; k++)
        AB[i][j] += alpha * A[i][k] * B[k][j];
    }
  for (int i = 0; i < ni; i++)
    for (int j = 0; j < nl; j++) {
      D[i][j] *= beta;
      for (int k = 0; k < nj; k++)
        D[i][j] += AB[i][k] * C[k][j];
    }
#pragma endscop
}
