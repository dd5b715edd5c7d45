// Transductive EM limit. One task stays in a core's cache for all K iterations.
// direct: mu in feature space each iteration (E and M products with d);
// gram:   mu is a combination of rows of Z, so z.mu and |mu|^2 follow from G = Z Z^T, computed once per task.
// NQ query rows first, then NS support rows; D features, C classes.
#include "tile.h"
#define NN (NQ + NS)
#define NL ((NN + 15) / 16)          // lanes blocks of all rows
#define LD (16 * NL)
#define QL ((NQ + 15) / 16)          // lane blocks of query rows
#define KMAX 128
INL __m512 vexp(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-87.0f));
  __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  __m512 p = _mm512_set1_ps(1.9875691500e-4f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f)); p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f)); p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
  p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(r, r), p, r), _mm512_set1_ps(1));
  return _mm512_scalef_ps(p, n);
}
typedef struct { float *ZT, *G, *V, *P, *mu, *hist, *gu, *gp; } ws_t;
static ws_t ws_new(int K) {
  ws_t w; w.ZT = aalloc(D * LD); w.G = aalloc(LD * LD); w.V = aalloc(C * LD); w.P = aalloc(C * LD); w.mu = aalloc(C * D);
  w.hist = K ? aalloc((size_t)(2 * K + 1) * C * LD) : 0; w.gu = aalloc(C * LD); w.gp = aalloc(C * LD);
  memset(w.ZT, 0, 4 * D * LD); return w;
}
static void ws_free(ws_t w) { free(w.ZT); free(w.G); free(w.V); free(w.P); free(w.mu); free(w.hist); free(w.gu); free(w.gp); }
static void transpose(const float *Z, float *ZT) {
  for (int n = 0; n < NN; n += 16) {
    int c = NN - n < 16 ? NN - n : 16; int idx[16]; for (int j = 0; j < 16; j++) idx[j] = (j < c ? j : 0) * D;
    __m512i v = _mm512_loadu_si512(idx); __mmask16 m = (1u << c) - 1;
    for (int d = 0; d < D; d++) _mm512_store_ps(ZT + d * LD + n, _mm512_maskz_mov_ps(m, _mm512_i32gather_ps(v, Z + (size_t)n * D + d, 4)));
  }
}
// out[4 rows][lanes lb..NL) += coef(4) * base
INL void gram4(const float *Z, const float *ZT, float *G, int m, const int L, int lb) {
  __m512 a[4 * L];
#pragma GCC unroll 28
  for (int i = 0; i < 4 * L; i++) a[i] = _mm512_setzero_ps();
  for (int d = 0; d < D; d++) {
    const float *t = ZT + d * LD + 16 * lb;
#pragma GCC unroll 7
    for (int l = 0; l < L; l++) {
      __m512 v = _mm512_load_ps(t + 16 * l);
#pragma GCC unroll 4
      for (int r = 0; r < 4; r++) a[r * L + l] = _mm512_fmadd_ps(_mm512_set1_ps(Z[(size_t)(m + r) * D + d]), v, a[r * L + l]);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < 4; r++)
#pragma GCC unroll 7
    for (int l = 0; l < L; l++) _mm512_store_ps(G + (m + r) * LD + 16 * (lb + l), a[r * L + l]);
}
static void gram_rows(const float *Z, const float *ZT, float *G, int m) {   // 4 rows, upper lane blocks only
  switch (NL - m / 16) {
    case 7: gram4(Z, ZT, G, m, 7, NL - 7); break; case 6: gram4(Z, ZT, G, m, 6, NL - 6); break;
    case 5: gram4(Z, ZT, G, m, 5, NL - 5); break; case 4: gram4(Z, ZT, G, m, 4, NL - 4); break;
    case 3: gram4(Z, ZT, G, m, 3, NL - 3); break; case 2: gram4(Z, ZT, G, m, 2, NL - 2); break;
    default: gram4(Z, ZT, G, m, 1, NL - 1);
  }
}
static void mirror(float *G) { for (int i = 0; i < NN; i++) for (int j = 0; j < i / 16 * 16; j++) G[i * LD + j] = G[j * LD + i]; }
// P[c][n] = sum_m V[c][m] G[m][n]
static void prod(const float *V, const float *G, float *P) {
  for (int c = 0; c < C; c += 4) {
    __m512 a[4 * NL];
#pragma GCC unroll 28
    for (int i = 0; i < 4 * NL; i++) a[i] = _mm512_setzero_ps();
    for (int m = 0; m < NN; m++)
#pragma GCC unroll 7
      for (int l = 0; l < NL; l++) {
        __m512 v = _mm512_load_ps(G + m * LD + 16 * l);
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++) a[r * NL + l] = _mm512_fmadd_ps(_mm512_set1_ps(V[(c + r) * LD + m]), v, a[r * NL + l]);
      }
#pragma GCC unroll 4
    for (int r = 0; r < 4; r++)
#pragma GCC unroll 7
      for (int l = 0; l < NL; l++) _mm512_store_ps(P + (c + r) * LD + 16 * l, a[r * NL + l]);
  }
}
// logits -> V (query lanes), with M = P*ms[c], offset[c]
static void softmax(const float *P, float *V, const float *ms, const float *off) {
  for (int l = 0; l < QL; l++) {
    __mmask16 m = l == QL - 1 && NQ % 16 ? (1u << NQ % 16) - 1 : 0xffff;
    __m512 e[C], mx = _mm512_set1_ps(-1e30f), s = _mm512_setzero_ps();
    for (int c = 0; c < C; c++) { e[c] = _mm512_fmadd_ps(_mm512_load_ps(P + c * LD + 16 * l), _mm512_set1_ps(ms[c]), _mm512_set1_ps(off[c])); mx = _mm512_max_ps(mx, e[c]); }
    for (int c = 0; c < C; c++) { e[c] = vexp(_mm512_sub_ps(e[c], mx)); s = _mm512_add_ps(s, e[c]); }
    s = _mm512_div_ps(_mm512_set1_ps(1), s);
    for (int c = 0; c < C; c++) _mm512_mask_storeu_ps(V + c * LD + 16 * l, m, _mm512_mul_ps(e[c], s));
  }
}
static void vinit(float *V, const int *y) {
  memset(V, 0, 4 * C * LD);
  for (int i = 0; i < NS; i++) V[y[i] * LD + NQ + i] = 1;
}
static void sums(const float *V, float *s, float *pi, int first) {
  for (int c = 0; c < C; c++) {
    float q = 0, a = 0;
    for (int n = 0; n < NQ; n++) q += V[c * LD + n];
    for (int n = NQ; n < NN; n++) a += V[c * LD + n];
    s[c] = q + a; pi[c] = first ? 1.0f / C : q / NQ;
  }
}
#define EPS 1e-12f
static void task_gram(ws_t *w, const int *y, const float *T, const float *lam, int K, float *hist) {
  float s[C], pi[C], ms[C], off[C];
  vinit(w->V, y);
  if (hist) memcpy(hist, w->V, 4 * C * LD);
  for (int k = 0; k < K; k++) {
    sums(w->V, s, pi, k == 0);
    prod(w->V, w->G, w->P);
    for (int c = 0; c < C; c++) {
      float q = 0; for (int n = 0; n < NN; n++) q += w->V[c * LD + n] * w->P[c * LD + n];
      ms[c] = T[k] / s[c]; off[c] = -0.5f * T[k] * q / (s[c] * s[c]) + lam[k] * logf(pi[c] + EPS);
    }
    softmax(w->P, w->V, ms, off);
    if (hist) { memcpy(hist + (size_t)(2 * k + 1) * C * LD, w->P, 4 * C * LD); memcpy(hist + (size_t)(2 * k + 2) * C * LD, w->V, 4 * C * LD); }
  }
}
static void out(const float *V, float *U) { for (int n = 0; n < NQ; n++) for (int c = 0; c < C; c++) U[n * C + c] = V[c * LD + n]; }
void em_gram(const float *Z, const int *y, const float *T, const float *lam, float *U, int B, int K, int threads) {
  if (B == 1 && threads > 1) {
    static ws_t w; if (!w.ZT) w = ws_new(0);
#pragma omp parallel num_threads(threads)
    {
      if (omp_get_thread_num() == 0) transpose(Z, w.ZT);
#pragma omp barrier
#pragma omp for schedule(dynamic, 1)
      for (int m = 0; m < NN; m += 4) gram_rows(Z, w.ZT, w.G, m);
    }
    mirror(w.G); task_gram(&w, y, T, lam, K, 0); out(w.V, U);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    ws_t w = ws_new(0);
#pragma omp for schedule(dynamic, 1)
    for (int b = 0; b < B; b++) {
      const float *z = Z + (size_t)b * NN * D;
      transpose(z, w.ZT);
      for (int m = 0; m < NN; m += 4) gram_rows(z, w.ZT, w.G, m);
      mirror(w.G); task_gram(&w, y + b * NS, T, lam, K, 0); out(w.V, U + (size_t)b * NQ * C);
    }
    ws_free(w);
  }
}
// loss = -mean log u_K[label]; gradients of T, lam
float em_grad(const float *Z, const int *y, const int *lab, const float *T, const float *lam, float *gT, float *gl, int B, int K, int threads) {
  double loss = 0;
  memset(gT, 0, 4 * K); memset(gl, 0, 4 * K);
#pragma omp parallel num_threads(threads) reduction(+ : loss)
  {
    ws_t w = ws_new(K); float lT[KMAX] = {0}, ll[KMAX] = {0};
#pragma omp for schedule(dynamic, 1)
    for (int b = 0; b < B; b++) {
      const float *z = Z + (size_t)b * NN * D; const int *yb = y + b * NS, *lb = lab + b * NQ;
      transpose(z, w.ZT);
      for (int m = 0; m < NN; m += 4) gram_rows(z, w.ZT, w.G, m);
      mirror(w.G); task_gram(&w, yb, T, lam, K, w.hist);
      memset(w.gu, 0, 4 * C * LD);
      for (int n = 0; n < NQ; n++) { float u = w.V[lb[n] * LD + n]; loss -= logf(u); w.gu[lb[n] * LD + n] = -1.0f / (u * B * NQ); }
      for (int k = K - 1; k >= 0; k--) {
        const float *V0 = w.hist + (size_t)2 * k * C * LD, *P = V0 + C * LD, *V1 = P + C * LD;
        float s[C], pi[C], gs[C], gq[C], gpi[C];
        sums(V0, s, pi, k == 0);
        for (int l = 0; l < QL; l++) {       // softmax adjoint: gu <- gL
          __m512 d = _mm512_setzero_ps();
          for (int c = 0; c < C; c++) d = _mm512_fmadd_ps(_mm512_load_ps(w.gu + c * LD + 16 * l), _mm512_load_ps(V1 + c * LD + 16 * l), d);
          for (int c = 0; c < C; c++) { float *g = w.gu + c * LD + 16 * l; _mm512_store_ps(g, _mm512_mul_ps(_mm512_load_ps(V1 + c * LD + 16 * l), _mm512_sub_ps(_mm512_load_ps(g), d))); }
        }
        for (int c = 0; c < C; c++) {
          float *g = w.gu + c * LD, *gp = w.gp + c * LD; const float *p = P + c * LD, *v = V0 + c * LD;
          for (int n = NQ; n < LD; n++) g[n] = 0;
          float sg = 0, sgp = 0, vp = 0;
          for (int n = 0; n < LD; n++) { sg += g[n]; sgp += g[n] * p[n]; vp += v[n] * p[n]; }
          float is = 1 / s[c], q = vp * is * is, lp = logf(pi[c] + EPS);
          lT[k] += sgp * is - 0.5f * q * sg; ll[k] += sg * lp;
          gq[c] = -0.5f * T[k] * sg; gpi[c] = k ? lam[k] / (pi[c] + EPS) * sg / NQ : 0;
          gs[c] = -T[k] * sgp * is * is - 2 * gq[c] * q * is;
          for (int n = 0; n < LD; n++) gp[n] = T[k] * is * g[n] + gq[c] * is * is * v[n];
        }
        if (!k) break;
        prod(w.gp, w.G, w.gu);
        for (int c = 0; c < C; c++) {
          float f = gq[c] / (s[c] * s[c]), o = gs[c] + gpi[c]; float *g = w.gu + c * LD; const float *p = P + c * LD;
          for (int n = 0; n < LD; n++) g[n] += f * p[n] + o;
        }
      }
    }
#pragma omp critical
    for (int k = 0; k < K; k++) { gT[k] += lT[k]; gl[k] += ll[k]; }
    ws_free(w);
  }
  return loss / ((double)B * NQ);
}
// same algorithm as written (mu in feature space), task-resident
void em_direct(const float *Z, const int *y, const float *T, const float *lam, float *U, int B, int K, int threads) {
#pragma omp parallel num_threads(threads)
  {
    ws_t w = ws_new(0); float s[C], pi[C], ms[C], off[C];
#pragma omp for schedule(dynamic, 1)
    for (int b = 0; b < B; b++) {
      const float *z = Z + (size_t)b * NN * D;
      transpose(z, w.ZT); vinit(w.V, y + b * NS);
      for (int k = 0; k < K; k++) {
        sums(w.V, s, pi, k == 0);
        for (int c = 0; c < C; c += 5) for (int d = 0; d < D; d += 64) {   // mu = V Z / s
          __m512 a[20];
#pragma GCC unroll 20
          for (int i = 0; i < 20; i++) a[i] = _mm512_setzero_ps();
          for (int n = 0; n < NN; n++)
#pragma GCC unroll 4
            for (int l = 0; l < 4; l++) {
              __m512 v = _mm512_loadu_ps(z + (size_t)n * D + d + 16 * l);
#pragma GCC unroll 5
              for (int r = 0; r < 5; r++) a[r * 4 + l] = _mm512_fmadd_ps(_mm512_set1_ps(w.V[(c + r) * LD + n]), v, a[r * 4 + l]);
            }
#pragma GCC unroll 5
          for (int r = 0; r < 5; r++)
#pragma GCC unroll 4
            for (int l = 0; l < 4; l++) _mm512_store_ps(w.mu + (c + r) * D + d + 16 * l, _mm512_mul_ps(a[r * 4 + l], _mm512_set1_ps(1 / s[c + r])));
        }
        for (int c = 0; c < C; c++) {
          float q = 0; for (int d = 0; d < D; d++) q += w.mu[c * D + d] * w.mu[c * D + d];
          ms[c] = T[k]; off[c] = -0.5f * T[k] * q + lam[k] * logf(pi[c] + EPS);
        }
        for (int c = 0; c < C; c += 4) {
          __m512 a[4 * QL];
#pragma GCC unroll 28
          for (int i = 0; i < 4 * QL; i++) a[i] = _mm512_setzero_ps();
          for (int d = 0; d < D; d++)
#pragma GCC unroll 7
            for (int l = 0; l < QL; l++) {
              __m512 v = _mm512_load_ps(w.ZT + d * LD + 16 * l);
#pragma GCC unroll 4
              for (int r = 0; r < 4; r++) a[r * QL + l] = _mm512_fmadd_ps(_mm512_set1_ps(w.mu[(c + r) * D + d]), v, a[r * QL + l]);
            }
#pragma GCC unroll 4
          for (int r = 0; r < 4; r++)
#pragma GCC unroll 7
            for (int l = 0; l < QL; l++) _mm512_store_ps(w.P + (c + r) * LD + 16 * l, a[r * QL + l]);
        }
        softmax(w.P, w.V, ms, off);
      }
      out(w.V, U + (size_t)b * NQ * C);
    }
    ws_free(w);
  }
}
