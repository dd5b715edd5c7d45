// Vectors of $n elements, for register tiles. GCC vector types; the fused multiply-add needs the machine's own name for it:
// that of the compiler, since to read the system's header of all such names takes longer than to compile most kernels.

//= us_vec : f32 f64 x 2 4 8 16
typedef $T us_$tx$n __attribute__((vector_size($n * sizeof($T))));
//= us_load : f32 f64 x 2 4 8 16
static inline __attribute__((always_inline)) us_$tx$n us_load_$tx$n(const $T *p) {
  us_$tx$n v;
  memcpy(&v, p, sizeof v);
  return v;
}
//= us_store : f32 f64 x 2 4 8 16
static inline __attribute__((always_inline)) void us_store_$tx$n($T *p, us_$tx$n v) { memcpy(p, &v, sizeof v); }
//= us_splat : f32 f64 x 2 4 8 16
static inline __attribute__((always_inline)) us_$tx$n us_splat_$tx$n($T x) {
  us_$tx$n v = {$xs};
  return v;
}
//= us_fma : f32 f64 x 2 4 8 16
static inline __attribute__((always_inline)) us_$tx$n us_fma_$tx$n(us_$tx$n a, us_$tx$n b, us_$tx$n c) {
#if (defined(__FP_FAST_FMA$F) || defined(__FMA__)) && $n * $b == 512 && defined(__AVX512F__) && __has_builtin(__builtin_ia32_vfmaddp$s512_mask)
  return __builtin_ia32_vfmaddp$s512_mask(a, b, c, -1, 4);  // all lanes, rounded as usual
#elif (defined(__FP_FAST_FMA$F) || defined(__FMA__)) && $n * $b == 256 && __has_builtin(__builtin_ia32_vfmaddp$s256)
  return __builtin_ia32_vfmaddp$s256(a, b, c);
#elif (defined(__FP_FAST_FMA$F) || defined(__FMA__)) && $n * $b == 128 && __has_builtin(__builtin_ia32_vfmaddp$s)
  return __builtin_ia32_vfmaddp$s(a, b, c);
#elif (defined(__FP_FAST_FMA$F) || defined(__FMA__))
  us_$tx$n r;
  for (int i = 0; i < $n; i++) r[i] = __builtin_fma$f(a[i], b[i], c[i]);
  return r;
#else
  return a * b + c;
#endif
}
//= us_sum : f32 f64 x 2
static inline __attribute__((always_inline)) $T us_sum_$tx2(us_$tx2 v) { return v[0] + v[1]; }
//= us_sum : f32 f64 x 4 8 16
static inline __attribute__((always_inline)) $T us_sum_$tx$n(us_$tx$n v) {  // halves: the order is fixed
#if defined(__clang__) || __GNUC__ >= 12
  return us_sum_$tx$h(__builtin_shufflevector(v, v, $low) + __builtin_shufflevector(v, v, $high));  // registers alone
#else
  us_$tx$h low, high;
  memcpy(&low, &v, sizeof low);
  memcpy(&high, (const char *)&v + sizeof low, sizeof high);
  return us_sum_$tx$h(low + high);
#endif
}
