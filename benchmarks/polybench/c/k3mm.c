// G = (A B) (C D): three products, every element as a sum.
static double AB[NI][NJ], CD[NJ][NL];

static void k3mm(int ni, int nj, int nk, int nl, int nm, const double A[restrict NI][NK], const double B[restrict NK][NJ],
                 const double C[restrict NJ][NM], const double D[restrict NM][NL], double G[restrict NI][NL]) {
#pragma scop
  for (int i = 0; i < ni; i++)
    for (int j = 0; j < nj; j++) {
      AB[i][j] = 0.0;
      for (int k = 0; k < nk; k++)
        AB[i][j] += A[i][k] * B[k][j];
    }
  for (int i = 0; i < nj; i++)
    for (int j = 0; j < nl; j++) {
      CD[i][j] = 0.0;
      for (int k = 0; k < nm; k++)
        CD[i][j] += C[i][k] * D[k][j];
    }
  for (int i = 0; i < ni; i++)
    for (int j = 0; j < nl; j++) {
      G[i][j] = 0.0;
      for (int k = 0; k < nj; k++)
        G[i][j] += AB[i][k] * CD[k][j];
    }
#pragma endscop
}
