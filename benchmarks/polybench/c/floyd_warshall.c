// Shortest paths between all pairs.
static void floyd_warshall(int n, double paths[restrict N][N]) {
#pragma scop
  for (int k = 0; k < n; k++)
    for (int i = 0; i < n; i++)
      for (int j = 0; j < n; j++)
        paths[i][j] = paths[i][j] < paths[i][k] + paths[k][j] ? paths[i][j] : paths[i][k] + paths[k][j];
#pragma endscop
}
