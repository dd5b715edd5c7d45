// Counter-based random numbers; compiler/graph/ops/random_bits.py defines them and gives the constants. No operation
// here may be fused or reordered: every back end makes the same bits.

//= us_words
typedef struct { uint32_t a, b, c, d; } us_words;
//= us_philox
static inline us_words us_philox(int64_t key, int64_t counter, uint32_t tag) {
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)((uint64_t)key >> 32);
  uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)((uint64_t)counter >> 32), c2 = tag, c3 = 0;
  for (int turn = 0; turn < 10; turn++) {
    uint64_t p0 = (uint64_t)$M0u * c0, p1 = (uint64_t)$M1u * c2;
    c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
    c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    k0 += $W0u;
    k1 += $W1u;
  }
  us_words w = {c0, c1, c2, c3};
  return w;
}
//= us_fold
static inline int64_t us_fold(int64_t key, int64_t i) {
  us_words w = us_philox(key, i, $tag(fold)u);
  return (int64_t)((uint64_t)w.a | (uint64_t)w.b << 32);
}
//= us_random_uniform_f32
static inline float us_random_uniform_f32(int64_t key, int64_t counter) {
  return (float)(us_philox(key, counter, $tag(uniform)u).a >> 8) * 0x1p-24f;
}
//= us_random_uniform_f64
static inline double us_random_uniform_f64(int64_t key, int64_t counter) {
  us_words w = us_philox(key, counter, $tag(uniform)u);
  return ((double)(w.a >> 5) * 0x1p26 + (double)(w.b >> 6)) * 0x1p-53;
}
//= us_random_normal_f64
static inline double us_random_normal_f64(int64_t key, int64_t counter) {
  us_words w = us_philox(key, counter, $tag(normal)u);
  double u = ((double)w.a + 1) * 0x1p-32, m;
  int64_t bits, fraction;
  memcpy(&bits, &u, 8);
  fraction = (bits & 0xfffffffffffff) | (int64_t)1023 << 52;
  memcpy(&m, &fraction, 8);
  int large = m > $SQRT2;
  double e = (double)((int32_t)(bits >> 52) - 1023 + large);
  m = large ? m * 0.5 : m;
  double s = (m - 1) / (m + 1), t = s * s;
  double radius = sqrt(-2 * (e * $LN2 + (2 * s) * ($horner(LOG, t))));
  uint32_t f = w.b & 0x3fffffff;  // bits 31 and 30 of w.b are the quadrant
  int swap = f > 0x20000000;
  double x = (double)(int32_t)(swap ? 0x40000000 - f : f) * $STEP, z = x * x;
  double sine = ($horner(SIN, z)) * x, cosine = $horner(COS, z);
  uint32_t odd = (w.b & 0x40000000) ^ (swap ? 0x40000000 : 0);
  double y = odd != 0 ? sine : cosine;
  y = (int32_t)(w.b ^ w.b << 1) < 0 ? -y : y;  // the middle quadrants
  return radius * y;
}
//= us_random_normal_f32
static inline float us_random_normal_f32(int64_t key, int64_t counter) { return (float)us_random_normal_f64(key, counter); }
//= us_random_rademacher : f32 f64 i8 i16 i32 i64
static inline $T us_random_rademacher_$t(int64_t key, int64_t counter) {
  return ($T)(1 - 2 * (int32_t)(us_philox(key, counter, $tag(rademacher)u).a & 1));
}
//= us_random_randint : i8 i16 i32 i64
static inline $T us_random_randint_$t(int64_t key, int64_t counter, int64_t low, int64_t high) {
  return ($T)(low + (int64_t)((uint64_t)us_philox(key, counter, $tag(randint)u).a * (uint64_t)(high - low) >> 32));
}
