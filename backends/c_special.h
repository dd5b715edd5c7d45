// The logarithm of the gamma function and its derivatives, without branches, so that loops over them vectorise.
// f64: shift the argument to at least 8, then the asymptotic series; reflection below 1/2. f32 goes through f64.

//= us_sinpi
static inline double us_sinpi(double x) {  // |sin(pi x)| carries the sign of the half period it is in
  double r = x - rint(x);
  return sin(3.14159265358979323846 * r);
}
//= us_lgamma_f64
static inline double us_lgamma_f64(double x) {
  int mirrored = x < 0.5;
  double z = mirrored ? 1 - x : x, p = 1;
  int small = z < 8;
  for (int i = 0; i < 8; i++) p *= small ? z + i : 1;
  double w = small ? z + 8 : z, v = 1 / w, s = v * v;
  double series = -3617.0 / 122400;
  series = series * s + 1.0 / 156;
  series = series * s - 691.0 / 360360;
  series = series * s + 1.0 / 1188;
  series = series * s - 1.0 / 1680;
  series = series * s + 1.0 / 1260;
  series = series * s - 1.0 / 360;
  series = series * s + 1.0 / 12;
  double main = (w - 0.5) * (log(w) - 1) + (0.91893853320467274178 - 0.5) + series * v;
  double value = main - log(p);
  double reflected = 1.14472988584940017414 - log(fabs(us_sinpi(x))) - value;
  value = mirrored ? reflected : value;
  int infinite = __builtin_isinf(x) || (x <= 0 && x == floor(x));
  return infinite ? INFINITY : value;
}
//= us_lgamma_f32
static inline float us_lgamma_f32(float x) { return (float)us_lgamma_f64((double)x); }
//= us_digamma_f64
static inline double us_digamma_f64(double x) {
  int mirrored = x < 0;
  double z = mirrored ? 1 - x : x, sum = 0;
  int small = z < 8;
  for (int i = 0; i < 8; i++) sum += small ? 1 / (z + i) : 0;
  double w = small ? z + 8 : z, v = 1 / w, s = v * v;
  double series = -3617.0 / 8160;
  series = series * s + 1.0 / 12;
  series = series * s - 691.0 / 32760;
  series = series * s + 5.0 / 660;
  series = series * s - 1.0 / 240;
  series = series * s + 1.0 / 252;
  series = series * s - 1.0 / 120;
  series = series * s + 1.0 / 12;
  double value = log(w) - 0.5 * v - series * s - sum;
  double r = x - rint(x), cotangent = sin(3.14159265358979323846 * (0.5 - fabs(r))) / sin(3.14159265358979323846 * r);
  value = mirrored ? value - 3.14159265358979323846 * cotangent : value;
  value = x < 0 && x == floor(x) ? NAN : value;
  return x == 0 ? -copysign(INFINITY, x) : value;
}
//= us_digamma_f32
static inline float us_digamma_f32(float x) { return (float)us_digamma_f64((double)x); }
//= us_polygamma1_f64
static inline double us_polygamma1_f64(double x) {
  int mirrored = x < 0.5;
  double z = mirrored ? 1 - x : x, sum = 0;
  int small = z < 8;
  for (int i = 0; i < 8; i++) sum += small ? 1 / ((z + i) * (z + i)) : 0;
  double w = small ? z + 8 : z, v = 1 / w, s = v * v;
  double series = -3617.0 / 510;
  series = series * s + 7.0 / 6;
  series = series * s - 691.0 / 2730;
  series = series * s + 5.0 / 66;
  series = series * s - 1.0 / 30;
  series = series * s + 1.0 / 42;
  series = series * s - 1.0 / 30;
  series = series * s + 1.0 / 6;
  double value = v + 0.5 * s + series * s * v + sum;
  double ratio = 3.14159265358979323846 / us_sinpi(x);
  value = mirrored ? ratio * ratio - value : value;
  return x <= 0 && x == floor(x) ? INFINITY : value + (x - x);  // NaN at infinity, as PyTorch's zeta function
}
//= us_polygamma1_f32
static inline float us_polygamma1_f32(float x) { return (float)us_polygamma1_f64((double)x); }
