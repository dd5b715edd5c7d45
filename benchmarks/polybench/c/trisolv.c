// Forward substitution: x with L x = b.
static void trisolv(int n, const double L[restrict N][N], const double b[restrict N], double x[restrict N]) {
#pragma scop
  for (int i = 0; i < n; i++) {
    x[i] = b[i];
    for (int j = 0; j < i; j++)
      x[i] -= L[i][j] * x[j];
    x[i] = x[i] / L[i][i];
  }
#pragma endscop
}
