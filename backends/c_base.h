// Scalar operations. Sections start with `//= name : dtypes`; $t is a dtype, $T its C type, $U the unsigned
// twin wide enough not to overflow, $f the suffix of the C library's functions. Only sections in use are printed.

//= us_fdiv
static inline int64_t us_fdiv(int64_t a, int64_t b) {  // floor division of indices
  int64_t q = a / b;
  return q - ((a % b != 0) & ((a < 0) != (b < 0)));
}
//= us_fmod
static inline int64_t us_fmod(int64_t a, int64_t b) {  // remainder with the divisor's sign
  int64_t r = a % b;
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
//= us_imin
static inline int64_t us_imin(int64_t a, int64_t b) { return a < b ? a : b; }
//= us_imax
static inline int64_t us_imax(int64_t a, int64_t b) { return a > b ? a : b; }

//= us_check_index
// The index, or 0 and the number of the failed check: a later check never hides an earlier one of this thread.
static inline int64_t us_check_index(int64_t i, int64_t size, int *failed, int number) {
  if ((uint64_t)i < (uint64_t)size) return i;
  if (*failed == 0) *failed = number;
  return 0;
}

//= us_add : i8 i16 i32 i64
static inline $T us_add_$t($T a, $T b) { return ($T)(($U)a + ($U)b); }
//= us_sub : i8 i16 i32 i64
static inline $T us_sub_$t($T a, $T b) { return ($T)(($U)a - ($U)b); }
//= us_mul : i8 i16 i32 i64
static inline $T us_mul_$t($T a, $T b) { return ($T)(($U)a * ($U)b); }
//= us_neg : i8 i16 i32 i64
static inline $T us_neg_$t($T a) { return ($T)(0 - ($U)a); }
//= us_abs : i8 i16 i32 i64
static inline $T us_abs_$t($T a) { return a < 0 ? ($T)(0 - ($U)a) : a; }
//= us_sign : i8 i16 i32 i64
static inline $T us_sign_$t($T a) { return ($T)((a > 0) - (a < 0)); }
//= us_relu : i8 i16 i32 i64
static inline $T us_relu_$t($T a) { return a > 0 ? a : 0; }
//= us_maximum : i8 i16 i32 i64 bool
static inline $T us_maximum_$t($T a, $T b) { return a > b ? a : b; }
//= us_minimum : i8 i16 i32 i64 bool
static inline $T us_minimum_$t($T a, $T b) { return a < b ? a : b; }
//= us_check_divisor : i8 i16 i32 i64
// The divisor, or 1 and the number of the failed check.
static inline $T us_check_divisor_$t($T b, int *failed, int number) {
  if (b != 0) return b;
  if (*failed == 0) *failed = number;
  return 1;
}
//= us_floordiv : i8 i16 i32 i64
static inline $T us_floordiv_$t($T a, $T b) {
  if (b == -1) return ($T)(0 - ($U)a);
  return ($T)(a / b - ((a % b != 0) & ((a < 0) != (b < 0))));
}
//= us_mod : i8 i16 i32 i64
static inline $T us_mod_$t($T a, $T b) {
  if (b == -1) return 0;
  $T r = ($T)(a % b);
  return r != 0 && (r < 0) != (b < 0) ? ($T)(r + b) : r;
}
//= us_pow : i8 i16 i32 i64
static inline $T us_pow_$t($T a, $T b) {
  if (b < 0) return a == 1 ? 1 : a == -1 ? (b & 1 ? -1 : 1) : 0;
  $U r = 1, x = ($U)a;
  for (; b; b >>= 1, x *= x) if (b & 1) r *= x;
  return ($T)r;
}

//= us_fma : f32 f64
// One rounding where the machine has it, two where it would be a library call.
static inline $T us_fma_$t($T a, $T b, $T c) {
#if defined(__FP_FAST_FMA$F) || defined(__FMA__)  // the second: clang on x86
  return __builtin_fma$f(a, b, c);
#else
  return a * b + c;
#endif
}
//= us_sign : f32 f64
static inline $T us_sign_$t($T a) { return a != a ? a : ($T)(a > 0) - ($T)(a < 0); }
//= us_relu : f32 f64
static inline $T us_relu_$t($T a) { return a > 0 || a != a ? a : 0; }
//= us_maximum : f32 f64
// NaN wins. If b is the new one of a reduction, nothing but one instruction waits for the one before.
static inline $T us_maximum_$t($T a, $T b) { $T m = a < b ? b : a; return b != b ? b : m; }
//= us_minimum : f32 f64
static inline $T us_minimum_$t($T a, $T b) { $T m = a > b ? b : a; return b != b ? b : m; }
//= us_reduce_maximum : f32 f64
#pragma omp declare reduction(us_reduce_maximum_$t : $T : omp_out = us_maximum_$t(omp_out, omp_in)) initializer(omp_priv = -INFINITY)
//= us_reduce_minimum : f32 f64
#pragma omp declare reduction(us_reduce_minimum_$t : $T : omp_out = us_minimum_$t(omp_out, omp_in)) initializer(omp_priv = INFINITY)
//= us_square : f32 f64
static inline $T us_square_$t($T a) { return a * a; }
//= us_cube : f32 f64
static inline $T us_cube_$t($T a) { return a * a * a; }
//= us_sigmoid : f32 f64
static inline $T us_sigmoid_$t($T a) { return 1 / (1 + exp$f(-a)); }
//= us_softplus : f32 f64
static inline $T us_softplus_$t($T a) { return us_relu_$t(a) + log1p$f(exp$f(-fabs$f(a))); }
//= us_angle : f32 f64
static inline $T us_angle_$t($T a) { return a != a ? a : copysign$f(1, a) < 0 ? ($T)3.14159265358979323846 : 0; }
//= us_floordiv : f32 f64
static inline $T us_floordiv_$t($T a, $T b) {  // as Python, which is more careful than floor(a / b)
  $T m = fmod$f(a, b), d = (a - m) / b;
  d -= ($T)(m != 0 && (b < 0) != (m < 0));
  $T q = floor$f(d);
  q += ($T)(d - q > ($T)0.5);
  q = d != 0 ? q : copysign$f(0, a / b);
  return b == 0 ? a / b : q;
}
//= us_mod : f32 f64
static inline $T us_mod_$t($T a, $T b) {
  $T m = fmod$f(a, b);
  return m != 0 && (b < 0) != (m < 0) ? m + b : m;
}
