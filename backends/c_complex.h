// Complex numbers as pairs: plain formulas on real parts vectorise, and no compiler flag changes what they mean.
// Division scales as PyTorch's does; functions without a short formula go through the C library.

//= us_$t : c64 c128
typedef struct { $R re, im; } us_$t;
//= us_make : c64 c128
static inline us_$t us_make_$t($R re, $R im) { us_$t z = {re, im}; return z; }
//= us_add : c64 c128
static inline us_$t us_add_$t(us_$t a, us_$t b) { us_$t z = {a.re + b.re, a.im + b.im}; return z; }
//= us_sub : c64 c128
static inline us_$t us_sub_$t(us_$t a, us_$t b) { us_$t z = {a.re - b.re, a.im - b.im}; return z; }
//= us_mul : c64 c128
static inline us_$t us_mul_$t(us_$t a, us_$t b) {
  us_$t z = {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
  return z;
}
//= us_div : c64 c128
static inline us_$t us_div_$t(us_$t a, us_$t b) {
  $R p = fabs$f(b.re), q = fabs$f(b.im);
  int first = p >= q;
  $R big = first ? b.re : b.im, little = first ? b.im : b.re, ratio = little / big, scale = 1 / (big + little * ratio);
  us_$t u = {(a.re + a.im * ratio) * scale, (a.im - a.re * ratio) * scale};
  us_$t v = {(a.re * ratio + a.im) * scale, (a.im * ratio - a.re) * scale};
  us_$t zero = {a.re / p, a.im / q};
  us_$t z = first ? u : v;
  return p == 0 && q == 0 ? zero : z;
}
//= us_neg : c64 c128
static inline us_$t us_neg_$t(us_$t a) { us_$t z = {-a.re, -a.im}; return z; }
//= us_conj : c64 c128
static inline us_$t us_conj_$t(us_$t a) { us_$t z = {a.re, -a.im}; return z; }
//= us_abs : c64 c128
static inline $R us_abs_$t(us_$t a) { return hypot$f(a.re, a.im); }
//= us_angle : c64 c128
static inline $R us_angle_$t(us_$t a) { return atan2$f(a.im, a.re); }
//= us_eq : c64 c128
static inline int us_eq_$t(us_$t a, us_$t b) { return a.re == b.re && a.im == b.im; }
//= us_isfinite : c64 c128
static inline int us_isfinite_$t(us_$t a) { return __builtin_isfinite(a.re) && __builtin_isfinite(a.im); }
//= us_where : c64 c128
static inline us_$t us_where_$t(int c, us_$t a, us_$t b) { us_$t z = {c ? a.re : b.re, c ? a.im : b.im}; return z; }
//= us_square : c64 c128
static inline us_$t us_square_$t(us_$t a) { us_$t z = {a.re * a.re - a.im * a.im, 2 * a.re * a.im}; return z; }

//= us_native : c64 c128
static inline $R _Complex us_native_$t(us_$t a) {
  union { us_$t z; $R _Complex w; } u;
  u.z = a;
  return u.w;
}
//= us_parts : c64 c128
static inline us_$t us_parts_$t($R _Complex w) {
  union { us_$t z; $R _Complex w; } u;
  u.w = w;
  return u.z;
}
//= us_sqrt : c64 c128
static inline us_$t us_sqrt_$t(us_$t a) { return us_parts_$t(csqrt$f(us_native_$t(a))); }
//= us_exp : c64 c128
static inline us_$t us_exp_$t(us_$t a) { return us_parts_$t(cexp$f(us_native_$t(a))); }
//= us_log : c64 c128
static inline us_$t us_log_$t(us_$t a) { return us_parts_$t(clog$f(us_native_$t(a))); }
//= us_sin : c64 c128
static inline us_$t us_sin_$t(us_$t a) { return us_parts_$t(csin$f(us_native_$t(a))); }
//= us_cos : c64 c128
static inline us_$t us_cos_$t(us_$t a) { return us_parts_$t(ccos$f(us_native_$t(a))); }
//= us_tan : c64 c128
static inline us_$t us_tan_$t(us_$t a) { return us_parts_$t(ctan$f(us_native_$t(a))); }
//= us_tanh : c64 c128
static inline us_$t us_tanh_$t(us_$t a) { return us_parts_$t(ctanh$f(us_native_$t(a))); }
//= us_pow : c64 c128
static inline us_$t us_pow_$t(us_$t a, us_$t b) { return us_parts_$t(cpow$f(us_native_$t(a), us_native_$t(b))); }
//= us_log1p : c64 c128
static inline us_$t us_log1p_$t(us_$t a) { return us_make_$t(log1p$f(a.re * (2 + a.re) + a.im * a.im) / 2, atan2$f(a.im, 1 + a.re)); }
//= us_expm1 : c64 c128
static inline us_$t us_expm1_$t(us_$t a) {
  $R half = sin$f(a.im / 2);
  return us_make_$t(expm1$f(a.re) * cos$f(a.im) - 2 * half * half, exp$f(a.re) * sin$f(a.im));
}
//= us_sigmoid : c64 c128
static inline us_$t us_sigmoid_$t(us_$t a) {
  us_$t e = us_exp_$t(us_neg_$t(a)), one = {1, 0}, d = {1 + e.re, e.im};
  return us_div_$t(one, d);
}
