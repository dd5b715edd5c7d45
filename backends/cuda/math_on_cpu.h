// The functions of CUDA's mathematics that generated kernels may call, by the processor's C library.
#pragma once

#define US_C1(NAME) \
  extern "C" double NAME(double) noexcept; \
  extern "C" float NAME##f(float) noexcept; \
  US_INLINE float NAME(float x) { return NAME##f(x); }
#define US_C2(NAME) \
  extern "C" double NAME(double, double) noexcept; \
  extern "C" float NAME##f(float, float) noexcept; \
  US_INLINE float NAME(float x, float y) { return NAME##f(x, y); }
US_C1(sqrt) US_C1(cbrt) US_C1(exp) US_C1(exp2) US_C1(expm1) US_C1(log) US_C1(log2) US_C1(log10) US_C1(log1p)
US_C1(sin) US_C1(cos) US_C1(tan) US_C1(asin) US_C1(acos) US_C1(atan) US_C1(sinh) US_C1(cosh) US_C1(tanh) US_C1(asinh) US_C1(acosh) US_C1(atanh)
US_C1(erf) US_C1(erfc) US_C1(lgamma) US_C1(tgamma) US_C1(j0) US_C1(j1) US_C1(y0) US_C1(y1)
US_C1(floor) US_C1(ceil) US_C1(trunc) US_C1(round) US_C1(rint) US_C1(nearbyint) US_C1(fabs) US_C1(logb)
US_C2(pow) US_C2(atan2) US_C2(fmod) US_C2(remainder) US_C2(hypot) US_C2(fmin) US_C2(fmax) US_C2(fdim) US_C2(copysign) US_C2(nextafter)

extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
extern "C" double ldexp(double, int) noexcept;
extern "C" float ldexpf(float, int) noexcept;
extern "C" double scalbn(double, int) noexcept;
extern "C" float scalbnf(float, int) noexcept;
extern "C" double frexp(double, int *) noexcept;
extern "C" float frexpf(float, int *) noexcept;
extern "C" double modf(double, double *) noexcept;
extern "C" float modff(float, float *) noexcept;
extern "C" int ilogb(double) noexcept;
extern "C" int ilogbf(float) noexcept;
extern "C" long long llrint(double) noexcept;
extern "C" long long llrintf(float) noexcept;
extern "C" long long llround(double) noexcept;
extern "C" long long llroundf(float) noexcept;
extern "C" int abs(int) noexcept;
extern "C" long labs(long) noexcept;
extern "C" long long llabs(long long) noexcept;
extern "C" void *memcpy(void *, const void *, size_t) noexcept;
extern "C" void *memset(void *, int, size_t) noexcept;
US_INLINE float fma(float x, float y, float z) { return fmaf(x, y, z); }
US_INLINE float abs(float x) { return fabsf(x); }
US_INLINE double abs(double x) { return fabs(x); }
US_INLINE long abs(long x) { return labs(x); }
US_INLINE long long abs(long long x) { return llabs(x); }

#define US_CLASS(NAME) \
  US_INLINE bool NAME(float x) { return __builtin_##NAME(x); } \
  US_INLINE bool NAME(double x) { return __builtin_##NAME(x); }
US_CLASS(isnan)
US_CLASS(isinf)
US_CLASS(isfinite)
US_CLASS(signbit)

US_INLINE void sincos(double x, double *s, double *c) { *s = sin(x), *c = cos(x); }
US_INLINE void sincosf(float x, float *s, float *c) { *s = sinf(x), *c = cosf(x); }
US_INLINE double rsqrt(double x) { return 1 / sqrt(x); }
US_INLINE float rsqrtf(float x) { return (float)(1 / sqrt((double)x)); }
US_INLINE double rcbrt(double x) { return 1 / cbrt(x); }
US_INLINE float rcbrtf(float x) { return 1 / cbrtf(x); }
US_INLINE double exp10(double x) { return pow(10.0, x); }
US_INLINE float exp10f(float x) { return powf(10.0f, x); }
US_INLINE double sinpi(double x) { return sin(3.141592653589793 * remainder(x, 2.0)); }
US_INLINE float sinpif(float x) { return (float)sinpi((double)x); }
US_INLINE double cospi(double x) { return cos(3.141592653589793 * remainder(x, 2.0)); }
US_INLINE float cospif(float x) { return (float)cospi((double)x); }
US_INLINE double normcdf(double x) { return 0.5 * erfc(x * -0.7071067811865476); }
US_INLINE float normcdff(float x) { return (float)normcdf((double)x); }
US_INLINE double norm3d(double x, double y, double z) { return sqrt(x * x + y * y + z * z); }
US_INLINE float norm3df(float x, float y, float z) { return sqrtf(x * x + y * y + z * z); }
US_INLINE float __saturatef(float x) { return x > 0 ? x < 1 ? x : 1 : 0; }

#define US_INTRINSIC(NAME, FUNCTION) US_INLINE float NAME(float x) { return FUNCTION(x); }
US_INTRINSIC(__expf, expf) US_INTRINSIC(__exp10f, exp10f) US_INTRINSIC(__logf, logf) US_INTRINSIC(__log2f, log2f) US_INTRINSIC(__log10f, log10f)
US_INTRINSIC(__sinf, sinf) US_INTRINSIC(__cosf, cosf) US_INTRINSIC(__tanf, tanf) US_INTRINSIC(__fsqrt_rn, sqrtf) US_INTRINSIC(__frsqrt_rn, rsqrtf)
US_INLINE float __powf(float x, float y) { return powf(x, y); }
US_INLINE float __fdividef(float x, float y) { return x / y; }
US_INLINE float fdividef(float x, float y) { return x / y; }
US_INLINE void __sincosf(float x, float *s, float *c) { sincosf(x, s, c); }

// one rounding each, never contracted (the text is compiled with -ffp-contract=off)
US_INLINE float __fadd_rn(float x, float y) { return x + y; }
US_INLINE float __fsub_rn(float x, float y) { return x - y; }
US_INLINE float __fmul_rn(float x, float y) { return x * y; }
US_INLINE float __fdiv_rn(float x, float y) { return x / y; }
US_INLINE float __frcp_rn(float x) { return 1 / x; }
US_INLINE float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
US_INLINE double __dadd_rn(double x, double y) { return x + y; }
US_INLINE double __dsub_rn(double x, double y) { return x - y; }
US_INLINE double __dmul_rn(double x, double y) { return x * y; }
US_INLINE double __ddiv_rn(double x, double y) { return x / y; }
US_INLINE double __drcp_rn(double x) { return 1 / x; }
US_INLINE double __dsqrt_rn(double x) { return sqrt(x); }
US_INLINE double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

// the same bits as another type
US_INLINE int __float_as_int(float x) { return us_bits<int>(x); }
US_INLINE unsigned __float_as_uint(float x) { return us_bits<unsigned>(x); }
US_INLINE float __int_as_float(int x) { return us_bits<float>(x); }
US_INLINE float __uint_as_float(unsigned x) { return us_bits<float>(x); }
US_INLINE long long __double_as_longlong(double x) { return us_bits<long long>(x); }
US_INLINE double __longlong_as_double(long long x) { return us_bits<double>(x); }
US_INLINE int __double2hiint(double x) { return (int)(us_bits<uint64_t>(x) >> 32); }
US_INLINE int __double2loint(double x) { return (int)us_bits<uint64_t>(x); }
US_INLINE double __hiloint2double(int high, int low) { return us_bits<double>((uint64_t)(unsigned)high << 32 | (unsigned)low); }

// conversions: to the nearest, towards zero, down, up; beyond the range they give its end, NaN gives 0, as on a GPU
template <class I, class F> US_INLINE I us_to_integer(F x) {
  const bool is_signed = (I)-1 < (I)0;
  const F above = is_signed ? (F)((uint64_t)1 << (8 * sizeof(I) - 1)) : (F)((uint64_t)1 << (8 * sizeof(I) - 1)) * 2;
  const I most = is_signed ? (I)(((uint64_t)1 << (8 * sizeof(I) - 1)) - 1) : (I)-1;
  if (x != x) return 0;
  if (x >= above) return most;
  if (is_signed ? x < -above : x < 0) return is_signed ? (I)(-most - 1) : (I)0;
  return (I)x;
}
#define US_ROUNDED(F, TO, I) \
  US_INLINE I __##F##2##TO##_rn(F x) { return us_to_integer<I>(rint(x)); } \
  US_INLINE I __##F##2##TO##_rz(F x) { return us_to_integer<I>(trunc(x)); } \
  US_INLINE I __##F##2##TO##_rd(F x) { return us_to_integer<I>(floor(x)); } \
  US_INLINE I __##F##2##TO##_ru(F x) { return us_to_integer<I>(ceil(x)); }
US_ROUNDED(float, int, int)
US_ROUNDED(float, uint, unsigned)
US_ROUNDED(float, ll, long long)
US_ROUNDED(double, int, int)
US_ROUNDED(double, uint, unsigned)
US_ROUNDED(double, ll, long long)
US_INLINE float __double2float_rn(double x) { return (float)x; }
US_INLINE float __int2float_rn(int x) { return (float)x; }
US_INLINE float __ll2float_rn(long long x) { return (float)x; }
US_INLINE double __ll2double_rn(long long x) { return (double)x; }

// integers
US_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
US_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
US_INLINE int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
US_INLINE int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
US_INLINE int __ffs(int x) { return __builtin_ffs(x); }
US_INLINE int __ffsll(long long x) { return __builtin_ffsll(x); }
US_INLINE unsigned __brev(unsigned x) {
  unsigned out = 0;
  for (int i = 0; i < 32; ++i) out |= (x >> i & 1) << (31 - i);
  return out;
}
US_INLINE int __mulhi(int x, int y) { return (int)((int64_t)x * y >> 32); }
US_INLINE unsigned __umulhi(unsigned x, unsigned y) { return (unsigned)((uint64_t)x * y >> 32); }
US_INLINE long long __mul64hi(long long x, long long y) { return (long long)((__int128)x * y >> 64); }
US_INLINE unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return (unsigned long long)((unsigned __int128)x * y >> 64);
}
US_INLINE unsigned __funnelshift_l(unsigned low, unsigned high, unsigned by) {
  return (unsigned)((((uint64_t)high << 32 | low) << (by & 31)) >> 32);
}
US_INLINE unsigned __funnelshift_r(unsigned low, unsigned high, unsigned by) { return (unsigned)(((uint64_t)high << 32 | low) >> (by & 31)); }
#define US_MIN_MAX(T) \
  US_INLINE T min(T x, T y) { return y < x ? y : x; } \
  US_INLINE T max(T x, T y) { return x < y ? y : x; }
US_MIN_MAX(int) US_MIN_MAX(unsigned) US_MIN_MAX(long) US_MIN_MAX(unsigned long) US_MIN_MAX(long long) US_MIN_MAX(unsigned long long)
US_INLINE float min(float x, float y) { return fminf(x, y); }
US_INLINE float max(float x, float y) { return fmaxf(x, y); }
US_INLINE double min(double x, double y) { return fmin(x, y); }
US_INLINE double max(double x, double y) { return fmax(x, y); }

// half precision as 16 bits: rounded to nearest, ties to even
US_INLINE unsigned us_bf16_bits(float x) {
  unsigned bits = us_bits<unsigned>(x);
  return x != x ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}
US_INLINE float us_bf16_value(unsigned bits) { return us_bits<float>(bits << 16); }
US_INLINE unsigned us_f16_bits(float x) {
  unsigned sign = us_bits<unsigned>(x) >> 16 & 0x8000u;
  float a = fabsf(x);
  if (x != x) return 0x7fffu;
  if (a >= 65520.0f) return sign | 0x7c00u;
  if (a < 6.103515625e-5f) return sign | (unsigned)rintf(a * 16777216.0f);  // subnormal: steps of 2^-24
  unsigned bits = us_bits<unsigned>(a);
  return sign | ((bits - 0x38000000u + 0xfffu + (bits >> 13 & 1)) >> 13);
}
US_INLINE float us_f16_value(unsigned bits) {
  unsigned rest = bits & 0x7fffu;
  float a = rest >= 0x7c00u ? us_bits<float>(0x7f800000u | (rest & 0x3ffu) << 13)
          : rest >= 0x400u ? us_bits<float>((rest << 13) + 0x38000000u) : (float)rest * 5.9604644775390625e-8f;
  return bits & 0x8000u ? -a : a;
}
