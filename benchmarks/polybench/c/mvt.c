// x1 := x1 + A y1 along rows, then x2 := x2 + A^T y2 down columns.
static void mvt(int n, double x1[restrict N], double x2[restrict N], const double y1[restrict N], const double y2[restrict N],
                const double A[restrict N][N]) {
#pragma scop
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      x1[i] += A[i][j] * y1[j];
  for (int i = 0; i < n; i++)
    for (int j = 0; j < n; j++)
      x2[i] += A[j][i] * y2[j];
#pragma endscop
}
