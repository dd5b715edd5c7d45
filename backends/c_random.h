// Counter-based random numbers; compiler/graph/ops/random_bits.py defines them and gives the constants. No operation
// here may be fused or reordered: every back end makes the same bits.

//= us_words
#ifdef __AVX512DQ__
typedef uint64_t us_word;  // 32 bits in 64: products are whole lanes, and what they are made into has lanes of 64 bits, too
typedef int64_t us_signed;
#else
typedef uint32_t us_word;
typedef int32_t us_signed;
#endif
typedef struct { us_word a, b, c, d; } us_words;
//= us_philox
static inline us_words us_philox(int64_t key, int64_t counter, uint32_t tag) {
  const us_word mask = 0xffffffff;
  us_word k0 = (us_word)key & mask, k1 = (us_word)((uint64_t)key >> 32);
  us_word c0 = (us_word)counter & mask, c1 = (us_word)((uint64_t)counter >> 32), c2 = tag, c3 = 0;
  for (int turn = 0; turn < 10; turn++) {
    uint64_t p0 = (uint64_t)$M0u * (c0 & mask), p1 = (uint64_t)$M1u * (c2 & mask);
    c0 = (us_word)(p1 >> 32) ^ c1 ^ k0;
    c2 = (us_word)(p0 >> 32) ^ c3 ^ k1;
    c1 = (us_word)p1;
    c3 = (us_word)p0;
    k0 = (k0 + $W0u) & mask;
    k1 = (k1 + $W1u) & mask;
  }
  us_words w = {c0 & mask, c1 & mask, c2 & mask, c3 & mask};
  return w;
}
//= us_fold
static inline int64_t us_fold(int64_t key, int64_t i) {
  us_words w = us_philox(key, i, $tag(fold)u);
  return (int64_t)((uint64_t)w.a | (uint64_t)w.b << 32);
}
//= us_random_uniform_f32
static inline float us_random_uniform_f32(int64_t key, int64_t counter) {
  return (float)(us_signed)(us_philox(key, counter, $tag(uniform)u).a >> 8) * 0x1p-24f;
}
//= us_random_uniform_f64
static inline double us_random_uniform_f64(int64_t key, int64_t counter) {
  us_words w = us_philox(key, counter, $tag(uniform)u);
  return ((double)(us_signed)(w.a >> 5) * 0x1p26 + (double)(us_signed)(w.b >> 6)) * 0x1p-53;
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
  fraction = bits >> 52 | 0x4330000000000000;  // 2^52 and the exponent: no conversion
  double e;
  memcpy(&e, &fraction, 8);
  e = e - 4503599627371519.0;
  e = large ? e + 1 : e;
  m = large ? m * 0.5 : m;
  double s = (m - 1) / (m + 1), t = s * s;
  double radius = sqrt(-2 * (e * $LN2 + (2 * s) * ($horner(LOG, t))));
  us_word f = w.b & 0x3fffffff;  // bits 31 and 30 of w.b are the quadrant
  int swap = f > 0x20000000;
  double x = (double)(us_signed)(swap ? 0x40000000 - f : f) * $STEP, z = x * x;
  int odd = ((w.b & 0x40000000) != 0) ^ swap;
  double y = $either(odd, SIN, COS, z);  // the sine is this times x
  y = odd ? y * x : y;
  y = ((w.b ^ w.b << 1) & 0x80000000) != 0 ? -y : y;  // the middle quadrants
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
