// What CUDA C needs of its own: types, threads that meet, sums over lanes. Sections as in the c_*.h files, which give the rest.

//= us_prologue
#ifndef US_ON_CPU
#ifdef __CUDACC_RTC__
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned int uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
typedef unsigned long long uintptr_t;
#else
#include <math.h>
#include <stdint.h>
#include <string.h>
#endif
#define US_FUNCTION static __device__ __forceinline__
#define US_POINTER(T) T *__restrict__
#define US_PLAIN_POINTER(T) T *  // copies that go on beside the thread write behind it, too
extern __shared__ __align__(16) char us_memory[];
#define US_DYNAMIC_SHARED us_memory
#endif
#ifndef INT64_C
#define INT64_C(x) x##ll
#endif
#ifndef INT64_MIN
#define INT64_MIN (-INT64_C(9223372036854775807) - 1)
#endif
#undef INFINITY
#undef NAN
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)

//= us_team
// The blocks that work on one problem, and where they count each other.
struct us_team { unsigned *counter; int blocks; };
//= us_meet
// All threads of all blocks of a team wait for each other: the last one to come to a meeting makes the count a multiple of the blocks.
US_FUNCTION void us_meet(us_team team) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    const unsigned blocks = (unsigned)team.blocks, came = atomicAdd(team.counter, 1u), all = (came / blocks + 1) * blocks;
    while ((int)(atomicAdd(team.counter, 0u) - all) < 0) __nanosleep(32);
    __threadfence();
  }
  __syncthreads();
}
//= us_team_barrier
US_FUNCTION void us_team_barrier(us_team team) {
  if (team.blocks == 1) __syncthreads();
  else us_meet(team);
}
//= us_lanes
// The threads of a warp that have an iteration in common with this one, as a mask.
US_FUNCTION unsigned us_lanes(unsigned count) {
  return count == 32 ? 0xffffffffu : ((1u << count) - 1u) << (threadIdx.x % 32u / count * count);
}
//= us_other : f32 f64 i32 i64
// The value that the lane with another number has.
US_FUNCTION $T us_other_$t(unsigned mask, $T x, int distance) { return __shfl_xor_sync(mask, x, distance); }
//= us_other : i8 i16 bool
US_FUNCTION $T us_other_$t(unsigned mask, $T x, int distance) { return ($T)__shfl_xor_sync(mask, (int)x, distance); }

//= us_vector : f32 f64 x 2 4
struct __align__($w * $n) us_vector_$tx$n { $T v[$n]; };
//= us_whole : f32 f64 x 2 4
// Neighbouring elements that are aligned for certain.
#ifdef US_ON_CPU
template <class P> US_FUNCTION us_vector_$tx$n us_whole_$tx$n(P p, int64_t i) {
  us_vector_$tx$n v;
  for (int j = 0; j < $n; j++) v.v[j] = p[i + j];
  return v;
}
#else
US_FUNCTION us_vector_$tx$n us_whole_$tx$n(const $T *p, int64_t i) { return *(const us_vector_$tx$n *)(p + i); }
#endif
//= us_near : f32 f64 x 2 4
// Neighbouring elements, at once where they are aligned.
#ifdef US_ON_CPU
template <class P> US_FUNCTION us_vector_$tx$n us_near_$tx$n(P p, int64_t i) {
  us_vector_$tx$n v;
  for (int j = 0; j < $n; j++) v.v[j] = p[i + j];
  return v;
}
#else
US_FUNCTION us_vector_$tx$n us_near_$tx$n(const $T *p, int64_t i) {
  p += i;
  if ((uintptr_t)p % sizeof(us_vector_$tx$n) == 0) return *(const us_vector_$tx$n *)p;
  us_vector_$tx$n v;
#pragma unroll
  for (int j = 0; j < $n; j++) v.v[j] = p[j];
  return v;
}
#endif
//= us_ahead : f32 i32 f64 i64 x 1 2 4
// A copy of neighbouring elements into shared memory that goes on beside the thread, at once where the source is aligned, too.
#ifdef US_ON_CPU
template <class D, class S> US_FUNCTION void us_ahead_$tx$n(D to, int64_t i, S from, int64_t j) {
  if ((uintptr_t)us_raw(from + j) % ($n * sizeof($T)) == 0) us_copy_async(to + i, from + j, $n * (int)sizeof($T));
  else for (int k = 0; k < $n; k++) us_copy_async(to + i + k, from + j + k, (int)sizeof($T));
}
#else
US_FUNCTION void us_ahead_$tx$n($T *to, int64_t i, const $T *from, int64_t j) {
  if ((uintptr_t)(from + j) % ($n * sizeof($T)) == 0) us_copy_async(to + i, from + j, $n * (int)sizeof($T));
  else
#pragma unroll
    for (int k = 0; k < $n; k++) us_copy_async(to + i + k, from + j + k, (int)sizeof($T));
}
#endif
//= us_ahead : f16 bf16 x 2 4 8
#ifdef US_ON_CPU
template <class D, class S> US_FUNCTION void us_ahead_$tx$n(D to, int64_t i, S from, int64_t j) {
  if ((uintptr_t)us_raw(from + j) % ($n * sizeof($T)) == 0) us_copy_async(to + i, from + j, $n * (int)sizeof($T));
  else for (int k = 0; k < $n; k++) to[i + k] = from[j + k];
}
#else
US_FUNCTION void us_ahead_$tx$n($T *to, int64_t i, const $T *from, int64_t j) {
  if ((uintptr_t)(from + j) % ($n * sizeof($T)) == 0) us_copy_async(to + i, from + j, $n * (int)sizeof($T));
  else
#pragma unroll
    for (int k = 0; k < $n; k++) to[i + k] = from[j + k];
}
#endif
//= us_pair_16
// Two elements of 16 bits in a register, the first in its low half, 0 in place of those that are not there; WHOLE: side by side, at 4 bytes.
template <bool WHOLE, bool FULL, class P> US_FUNCTION unsigned us_pair_16(P p, int64_t i, int step, bool first, bool second) {
#ifndef US_ON_CPU
  if (WHOLE && FULL) return *(const unsigned *)(p + i);
#endif
  const unsigned low = FULL || first ? (unsigned)p[i] : 0u, high = FULL || second ? (unsigned)p[i + step] : 0u;
  return low | high << 16;
}
//= us_left_16
// What a lane needs of 16 rows and 16 terms for a product on tensor cores (mma.m16n8k16). FULL: all of them are there, else as many as told.
template <bool WHOLE, bool FULL, class P>
US_FUNCTION void us_left_16(unsigned (&a)[4], P p, int64_t at, int across, int step, int rows, int terms) {
  const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < 4; n++) {
    const int i = g + n % 2 * 8, k = t + n / 2 * 8;
    a[n] = us_pair_16<WHOLE, FULL>(p, at + i * across + k * step, step, i < rows && k < terms, i < rows && k + 1 < terms);
  }
}
//= us_right_16
// The same for 8 columns and 16 terms.
template <bool WHOLE, bool FULL, class P>
US_FUNCTION void us_right_16(unsigned (&b)[2], P p, int64_t at, int across, int step, int columns, int terms) {
  const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < 2; n++) {
    const int k = t + n * 8;
    b[n] = us_pair_16<WHOLE, FULL>(p, at + g * across + k * step, step, g < columns && k < terms, g < columns && k + 1 < terms);
  }
}
//= us_left_32
// The same for f32, rounded to TF32: 16 rows and 8 terms (mma.m16n8k8).
template <bool FULL, class P>
US_FUNCTION void us_left_32(unsigned (&a)[4], P p, int64_t at, int across, int step, int rows, int terms) {
  const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
#pragma unroll
  for (int n = 0; n < 4; n++) {
    const int i = g + n % 2 * 8, k = t + n / 2 * 4;
    a[n] = us_tf32(FULL || (i < rows && k < terms) ? (float)p[at + i * across + k * step] : 0.0f);
  }
}
//= us_right_32
template <bool FULL, class P>
US_FUNCTION void us_right_32(unsigned (&b)[2], P p, int64_t at, int across, int step, int columns, int terms) {
  const int g = (int)threadIdx.x % 32 / 4, t = (int)threadIdx.x % 4;
#pragma unroll
  for (int n = 0; n < 2; n++) {
    const int k = t + n * 4;
    b[n] = us_tf32(FULL || (g < columns && k < terms) ? (float)p[at + g * across + k * step] : 0.0f);
  }
}
//= us_isfinite : f32 f64
US_FUNCTION bool us_isfinite_$t($T x) { return isfinite(x); }
//= us_fma : f32 f64
US_FUNCTION $T us_fma_$t($T a, $T b, $T c) { return fma$f(a, b, c); }
//= us_add_rn : f32
US_FUNCTION float us_add_rn_f32(float a, float b) { return __fadd_rn(a, b); }  // never fused with a product
//= us_add_rn : f64
US_FUNCTION double us_add_rn_f64(double a, double b) { return __dadd_rn(a, b); }
//= us_mul_rn : f32
US_FUNCTION float us_mul_rn_f32(float a, float b) { return __fmul_rn(a, b); }
//= us_mul_rn : f64
US_FUNCTION double us_mul_rn_f64(double a, double b) { return __dmul_rn(a, b); }
//= us_real : c64 c128
US_FUNCTION $R us_real_$t(us_$t a) { return a.re; }
//= us_imag : c64 c128
US_FUNCTION $R us_imag_$t(us_$t a) { return a.im; }

//= us_widen_bf16
US_FUNCTION float us_widen_bf16(uint16_t h) { return __uint_as_float((uint32_t)h << 16); }
//= us_narrow_bf16
US_FUNCTION uint16_t us_narrow_bf16(float value) {  // to nearest, halves to even; a NaN stays one
  const uint32_t u = __float_as_uint(value), rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
  return (uint16_t)((u & 0x7fffffff) > 0x7f800000 ? (u >> 16 | 0x40) : rounded);
}
//= us_widen_f16
US_FUNCTION float us_widen_f16(uint16_t h) {
  // Exponent and fraction at their places; the product moves the exponent, and makes normal numbers of subnormal ones.
  const uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
  const uint32_t scaled = __float_as_uint(__uint_as_float(magnitude) * 5.192296858534828e33f);
  return __uint_as_float(((h & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000 : scaled) | sign);
}
//= us_narrow_f16
US_FUNCTION uint16_t us_narrow_f16(float value) {  // to nearest, halves to even; a NaN stays one
  const uint32_t u = __float_as_uint(value), sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffff;
  const uint32_t normal = ((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) - (112 << 10);
  const uint32_t shifted = __float_as_uint(__fadd_rn(__uint_as_float(magnitude), 0.5f));  // the spacing at 0.5 is that of subnormal f16
  uint32_t found = magnitude < 0x38800000 ? shifted - 0x3f000000 : normal;
  found = magnitude >= 0x477ff000 ? 0x7c00 : found;
  found = magnitude > 0x7f800000 ? (0x7e00 | (magnitude >> 13 & 0x3ff)) : found;
  return (uint16_t)(found | sign);
}

//= us_random_normal_f64
US_FUNCTION double us_random_normal_f64(int64_t key, int64_t counter) {
  us_words w = us_philox(key, counter, $tag(normal)u);
  const double u = __dmul_rn(__dadd_rn((double)w.a, 1.0), 2.3283064365386963e-10);
  const int64_t bits = (int64_t)__double_as_longlong(u), fraction = (bits & 0xfffffffffffffll) | (int64_t)1023 << 52;
  double m = __longlong_as_double(fraction);
  const int large = m > $SQRT2;
  const double e = (double)((int32_t)(bits >> 52) - 1023 + large);
  m = large ? m * 0.5 : m;
  const double s = __dadd_rn(m, -1.0) / __dadd_rn(m, 1.0), t = __dmul_rn(s, s);
  const double logarithm = __dadd_rn(__dmul_rn(e, $LN2), __dmul_rn(__dmul_rn(2.0, s), $exact(LOG, t)));
  const double radius = sqrt(__dmul_rn(-2.0, logarithm));
  const uint32_t f = w.b & 0x3fffffff;  // bits 31 and 30 of w.b are the quadrant
  const int swap = f > 0x20000000;
  const double x = __dmul_rn((double)(int32_t)(swap ? 0x40000000 - f : f), $STEP), z = __dmul_rn(x, x);
  const double sine = __dmul_rn($exact(SIN, z), x), cosine = $exact(COS, z);
  const uint32_t odd = (w.b & 0x40000000) ^ (swap ? 0x40000000 : 0);
  double y = odd != 0 ? sine : cosine;
  y = (int32_t)(w.b ^ w.b << 1) < 0 ? -y : y;  // the middle quadrants
  return __dmul_rn(radius, y);
}
//= us_random_uniform_f32
US_FUNCTION float us_random_uniform_f32(int64_t key, int64_t counter) {
  return (float)(us_philox(key, counter, $tag(uniform)u).a >> 8) * 5.9604644775390625e-8f;
}
//= us_random_uniform_f64
US_FUNCTION double us_random_uniform_f64(int64_t key, int64_t counter) {
  us_words w = us_philox(key, counter, $tag(uniform)u);
  return __dmul_rn(__dadd_rn(__dmul_rn((double)(w.a >> 5), 67108864.0), (double)(w.b >> 6)), 1.1102230246251565e-16);
}

//= us_exp : c64 c128
// The exponential: exp(re) (cos(im) + i sin(im)), where exp(re) alone may overflow.
US_FUNCTION us_$t us_exp_$t(us_$t a) {
  const int much = a.re > (sizeof($R) == 4 ? 80 : 700);
  const $R e = exp$f(much ? a.re - 40 : a.re), again = much ? ($R)2.3538526683701998e17 : 1;
  us_$t z = {e * cos$f(a.im) * again, e * sin$f(a.im) * again};
  if (e == 0) z.re = 0;
  if (e == 0 && z.im != z.im) z.im = 0;
  if (a.im == 0) z.im = a.im;
  return z;
}
//= us_log : c64 c128
US_FUNCTION us_$t us_log_$t(us_$t a) {
  // Near the unit circle the modulus is told from its square, with the rounding of the products made up for.
  const double x = fabs((double)a.re), y = fabs((double)a.im), big = x > y ? x : y, little = x > y ? y : x;
  double real = log(hypot(x, y));
  if (big > 0.5 && big < 2) {
    const double p = big * big, q = little * little, rest = fma(big, big, -p) + fma(little, little, -q);
    real = log1p(((p - 1) + q) + rest) / 2;
  }
  return us_make_$t(($R)real, ($R)atan2((double)a.im, (double)a.re));
}
//= us_sqrt : c64 c128
US_FUNCTION us_$t us_sqrt_$t(us_$t a) {
  double x = a.re, y = a.im;
  if (isinf(y)) return us_make_$t(INFINITY, a.im);
  if (isinf(x)) return x > 0 ? us_make_$t(a.re, y != y ? ($R)y : copysign$f(0, a.im)) : us_make_$t(y != y ? ($R)y : 0, copysign$f(INFINITY, a.im));
  if (x == 0 && y == 0) return us_make_$t(0, a.im);
  double scale = 1;
  if (fabs(x) > 1e300 || fabs(y) > 1e300) { x *= 0.0625; y *= 0.0625; scale = 4; }
  else if (fabs(x) < 1e-290 && fabs(y) < 1e-290) { x *= 1.3407807929942597e154; y *= 1.3407807929942597e154; scale = 8.636168555094445e-78; }
  const double t = sqrt((fabs(x) + hypot(x, y)) * 0.5);
  const double re = x >= 0 ? t : fabs(y) / (2 * t), im = x >= 0 ? y / (2 * t) : copysign(t, y);
  return us_make_$t(($R)(re * scale), ($R)(im * scale));
}
//= us_sinh_cosh
// sinh(x) and cosh(x) of a double.
US_FUNCTION void us_sinh_cosh(double x, double *s, double *c) { *s = sinh(x); *c = cosh(x); }
//= us_sin : c64 c128
US_FUNCTION us_$t us_sin_$t(us_$t a) {
  double s, c;
  us_sinh_cosh((double)a.im, &s, &c);
  return us_make_$t(($R)(sin((double)a.re) * c), ($R)(cos((double)a.re) * s));
}
//= us_cos : c64 c128
US_FUNCTION us_$t us_cos_$t(us_$t a) {
  double s, c;
  us_sinh_cosh((double)a.im, &s, &c);
  return us_make_$t(($R)(cos((double)a.re) * c), ($R)(-sin((double)a.re) * s));
}
//= us_tanh : c64 c128
US_FUNCTION us_$t us_tanh_$t(us_$t a) {
  const double x = a.re, y = a.im;
  if (fabs(x) > 22) {  // 1 to the last bit; the imaginary part goes to 0 with exp(-2 |x|)
    const double turn = isfinite(y) ? sin(2 * y) : 1;
    return us_make_$t(($R)copysign(1.0, x), ($R)copysign(2 * fabs(turn) * exp(-2 * fabs(x)), turn));
  }
  const double s = sinh(x), c = cosh(x), t = tan(y), d = 1 + t * t * s * s / (c * c), h = s / c;
  if (isinf(t)) return us_make_$t(($R)(c / s), ($R)0);
  return us_make_$t(($R)(h * (1 + t * t) / d), ($R)(t / (c * c) / d));
}
//= us_tan : c64 c128
US_FUNCTION us_$t us_tan_$t(us_$t a) {  // -i tanh(i a)
  const us_$t turned = {-a.im, a.re}, h = us_tanh_$t(turned);
  return us_make_$t(h.im, -h.re);
}
//= us_pow : c64 c128
// a**b, in double precision; a power of 0 is 0 or 1, or NaN where there is none.
US_FUNCTION us_$t us_pow_$t(us_$t a, us_$t b) {
  if (b.re == 0 && b.im == 0) return us_make_$t(1, 0);
  const double modulus = hypot((double)a.re, (double)a.im), angle = atan2((double)a.im, (double)a.re);
  if (modulus == 0) return b.re > 0 && b.im == 0 ? us_make_$t(0, 0) : us_make_$t(NAN, NAN);
  double size = pow(modulus, (double)b.re), phase = angle * (double)b.re;
  if (b.im != 0) { size *= exp(-angle * (double)b.im); phase += (double)b.im * log(modulus); }
  return us_make_$t(($R)(size * cos(phase)), ($R)(size * sin(phase)));
}

//= us_key : f32 f64
US_FUNCTION $K us_key_$t($T v) {  // a signed integer in the order of the values
  const $K most = ($K)(~(uint64_t)0 >> (65 - $b)), infinity = $b == 64 ? ($K)0x7ff0000000000000ll : ($K)0x7f800000;
  $K u;
  v += 0;  // -0 to 0
  memcpy(&u, &v, sizeof u);
  u = (u & most) > infinity ? most : u;
  return u ^ (u >> ($b - 1) & most);  // of numbers below 0, those with larger bits are smaller
}
//= us_topk_mask : f32 f64 i8 i16 i32 i64
// mask[r, i] = whether values[r, i] is among the `count` largest of its row: bit by bit the smallest key that is.
US_FUNCTION void us_topk_mask_$t(US_POINTER(uint8_t) mask, US_POINTER(const $T) values, int64_t count, int64_t rows, int64_t n, int *failed, int number) {
  if (count < 0 || count > n) {
    if (*failed == 0) *failed = number;
    count = count < 0 ? 0 : n;
  }
  for (int64_t r = 0; r < rows; r++, values += n, mask += n) {
    uint64_t limit = 0;  // of keys made unsigned
    for (int bit = 63; bit >= 0; bit--) {
      const uint64_t tried = limit | (uint64_t)1 << bit;
      int64_t above = 0;
      for (int64_t i = 0; i < n; i++) above += ((uint64_t)(int64_t)us_key_$t(values[i]) ^ (uint64_t)1 << 63) >= tried;
      limit = above >= count ? tried : limit;
    }
    int64_t left = count;
    for (int64_t i = 0; i < n; i++) left -= mask[i] = count > 0 && ((uint64_t)(int64_t)us_key_$t(values[i]) ^ (uint64_t)1 << 63) >= limit;
    for (int64_t i = n; left < 0;) {  // more equal the limit than wanted: drop the last ones
      const int drop = ((uint64_t)(int64_t)us_key_$t(values[--i]) ^ (uint64_t)1 << 63) == limit;
      mask[i] = mask[i] & !drop;
      left += drop;
    }
  }
}
