// Load balancing limits. moe: scores transposed once to [token block][expert][16 lanes]; top-k by a register-resident
// sorted list per 16 tokens; all K bias updates in one parallel region. sinkhorn: one read of M per iteration
// (row scaling and column sums in the same pass), one matrix at a time so that it stays in L3.
#include "tile.h"
static bar_t B1;
static int cnt[2][8][E];
void moe(const float *S, float *bias, int *load, const float *step, int T, int K, int threads) {
  static float *ST; static int cap;
  if (cap < T) { ST = aalloc((size_t)T * E); cap = T; }
#pragma omp parallel num_threads(threads)
  {
    int id = omp_get_thread_num(), nt = threads, nb = T / 16, lo = nb * id / nt, hi = nb * (id + 1) / nt;
    for (int b = lo; b < hi; b++) tile_load(S + (size_t)b * 16 * E, E, E, ST + (size_t)b * 16 * E);
    float bb[E] = {0};
    for (int k = 0; k < K; k++) {
      int c[E] = {0};
      for (int b = lo; b < hi; b += 2) {       // two blocks of 16 tokens interleaved
        const float *s = ST + (size_t)b * 16 * E, *s2 = s + 16 * E; const int two = b + 1 < hi; if (!two) s2 = s;
        __m512 t[TOP], u[TOP];
#pragma GCC unroll 6
        for (int r = 0; r < TOP; r++) t[r] = u[r] = _mm512_set1_ps(-1e30f);
        for (int e = 0; e < E; e++) {
          __m512 be = _mm512_set1_ps(bb[e]), v = _mm512_add_ps(_mm512_load_ps(s + 16 * e), be), w = _mm512_add_ps(_mm512_load_ps(s2 + 16 * e), be);
#pragma GCC unroll 6
          for (int r = 0; r < TOP; r++) {
            __m512 hi_ = _mm512_max_ps(t[r], v), hu = _mm512_max_ps(u[r], w);
            if (r < TOP - 1) { v = _mm512_min_ps(t[r], v); w = _mm512_min_ps(u[r], w); }
            t[r] = hi_; u[r] = hu;
          }
        }
        __m512 th = t[TOP - 1], tu = two ? u[TOP - 1] : _mm512_set1_ps(1e30f);
        for (int e = 0; e < E; e++) {
          __m512 be = _mm512_set1_ps(bb[e]);
          unsigned m = _mm512_cmp_ps_mask(_mm512_add_ps(_mm512_load_ps(s + 16 * e), be), th, _CMP_GE_OQ);
          unsigned m2 = _mm512_cmp_ps_mask(_mm512_add_ps(_mm512_load_ps(s2 + 16 * e), be), tu, _CMP_GE_OQ);
          c[e] += __builtin_popcount(m | m2 << 16);
        }
      }
      memcpy(cnt[k & 1][id], c, sizeof c);
      if (nt > 1) bar(&B1, nt);
      float mean = (float)T * TOP / E;
      for (int e = 0; e < E; e++) {
        int l = 0; for (int q = 0; q < nt; q++) l += cnt[k & 1][q][e];
        if (id == 0) load[e] = l;
        bb[e] -= step[k] * (l - mean) / mean;
      }
    }
    if (id == 0) memcpy(bias, bb, sizeof bb);
  }
}
// r = 1/(M c), c = 1/(M^T r), K times, M (B, n, n); n multiple of 16
void sinkhorn(const float *M, float *r, float *c, int Bn, int n, int K, int threads) {
  float *part = aalloc((size_t)2 * threads * n);
#pragma omp parallel num_threads(threads)
  {
    int id = omp_get_thread_num(), lo = n * id / threads, hi = n * (id + 1) / threads;
    float *cl = aalloc(n);
    for (int b = 0; b < Bn; b++) {
      const float *m = M + (size_t)b * n * n;
      for (int j = 0; j < n; j++) cl[j] = 1;
      for (int k = 0; k < K; k++) {
        float *g = part + ((size_t)(k & 1) * threads + id) * n;
        memset(g, 0, 4 * n);
        for (int i = lo; i < hi; i += 4) {
          const float *a = m + (size_t)i * n;
          __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0, u0 = s0, u1 = s0, u2 = s0, u3 = s0;
          for (int j = 0; j < n; j += 32) {
            __m512 v = _mm512_load_ps(cl + j), w = _mm512_load_ps(cl + j + 16);
            s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + j), v, s0); u0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + j + 16), w, u0);
            s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + n + j), v, s1); u1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + n + j + 16), w, u1);
            s2 = _mm512_fmadd_ps(_mm512_loadu_ps(a + 2 * n + j), v, s2); u2 = _mm512_fmadd_ps(_mm512_loadu_ps(a + 2 * n + j + 16), w, u2);
            s3 = _mm512_fmadd_ps(_mm512_loadu_ps(a + 3 * n + j), v, s3); u3 = _mm512_fmadd_ps(_mm512_loadu_ps(a + 3 * n + j + 16), w, u3);
          }
          float x0 = 1 / _mm512_reduce_add_ps(_mm512_add_ps(s0, u0)), x1 = 1 / _mm512_reduce_add_ps(_mm512_add_ps(s1, u1));
          float x2 = 1 / _mm512_reduce_add_ps(_mm512_add_ps(s2, u2)), x3 = 1 / _mm512_reduce_add_ps(_mm512_add_ps(s3, u3));
          float *rr = r + (size_t)b * n + i; rr[0] = x0; rr[1] = x1; rr[2] = x2; rr[3] = x3;
          __m512 r0 = _mm512_set1_ps(x0), r1 = _mm512_set1_ps(x1), r2 = _mm512_set1_ps(x2), r3 = _mm512_set1_ps(x3);
          for (int j = 0; j < n; j += 16) {
            __m512 p = _mm512_fmadd_ps(r0, _mm512_loadu_ps(a + j), _mm512_load_ps(g + j)), q = _mm512_mul_ps(r1, _mm512_loadu_ps(a + n + j));
            p = _mm512_fmadd_ps(r2, _mm512_loadu_ps(a + 2 * n + j), p); q = _mm512_fmadd_ps(r3, _mm512_loadu_ps(a + 3 * n + j), q);
            _mm512_store_ps(g + j, _mm512_add_ps(p, q));
          }
        }
        if (threads > 1) bar(&B1, threads);
        for (int j = 0; j < n; j++) { float s = 0; for (int q = 0; q < threads; q++) s += part[((size_t)(k & 1) * threads + q) * n + j]; cl[j] = 1 / s; }
      }
      if (id == 0) memcpy(c + (size_t)b * n, cl, 4 * n);
    }
    free(cl);
  }
  free(part);
}
