// A = Q R by modified Gram-Schmidt, column by column; A is used up.
#include <math.h>

static void gramschmidt(int m, int n, double A[restrict M][N], double Q[restrict M][N], double R[restrict N][N]) {
  double square;
#pragma scop
  for (int k = 0; k < n; k++) {
    square = 0.0;
    for (int i = 0; i < m; i++)
      square += A[i][k] * A[i][k];
    R[k][k] = sqrt(square);
    for (int i = 0; i < m; i++)
      Q[i][k] = A[i][k] / R[k][k];
    for (int j = k + 1; j < n; j++) {
      R[k][j] = 0.0;
      for (int i = 0; i < m; i++)
        R[k][j] += Q[i][k] * A[i][j];
      for (int i = 0; i < m; i++)
        A[i][j] = A[i][j] - Q[i][k] * R[k][j];
    }
  }
#pragma endscop
}
