// Double sweeps of the mean of five neighbours, A to B and back. With -DTHREADS the rows of each sweep are shared among threads:
// what one writes by hand, without time tiling.
#ifdef THREADS
#define ROWS _Pragma("omp parallel for schedule(static)")
#else
#define ROWS
#endif

static void jacobi_2d(int steps, int n, double A[restrict N][N], double B[restrict N][N]) {
#pragma scop
  for (int t = 0; t < steps; t++) {
    ROWS
    for (int i = 1; i < n - 1; i++)
      for (int j = 1; j < n - 1; j++)
        B[i][j] = 0.2 * (A[i][j] + A[i][j - 1] + A[i][j + 1] + A[i + 1][j] + A[i - 1][j]);
    ROWS
    for (int i = 1; i < n - 1; i++)
      for (int j = 1; j < n - 1; j++)
        A[i][j] = 0.2 * (B[i][j] + B[i][j - 1] + B[i][j + 1] + B[i + 1][j] + B[i - 1][j]);
  }
#pragma endscop
}
