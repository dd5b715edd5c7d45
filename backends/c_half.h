// Half precision as storage: 16 bits in memory, float in registers. Integers and selections only, so that loops vectorize, and
// no 16-bit type of the compiler is needed.

//= us_widen_bf16
static inline float us_widen_bf16(uint16_t h) {
  const union { uint32_t u; float f; } x = {.u = (uint32_t)h << 16};
  return x.f;
}
//= us_narrow_bf16
static inline uint16_t us_narrow_bf16(float value) {  // to nearest, halves to even; a NaN stays one
  const union { float f; uint32_t u; } x = {.f = value};
  const uint32_t rounded = (x.u + 0x7fff + (x.u >> 16 & 1)) >> 16;
  return (uint16_t)((x.u & 0x7fffffff) > 0x7f800000 ? (x.u >> 16 | 0x40) : rounded);
}
//= us_widen_f16
static inline float us_widen_f16(uint16_t h) {
  // Exponent and fraction at their places; the product moves the exponent, and makes normal numbers of subnormal ones.
  const uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13, sign = (uint32_t)(h & 0x8000) << 16;
  const union { uint32_t u; float f; } small = {.u = magnitude};
  const union { float f; uint32_t u; } scaled = {.f = small.f * 0x1p112f};
  const union { uint32_t u; float f; } x = {.u = ((h & 0x7c00) == 0x7c00 ? magnitude | 0x7f800000 : scaled.u) | sign};
  return x.f;
}
//= us_narrow_f16
static inline uint16_t us_narrow_f16(float value) {  // to nearest, halves to even; a NaN stays one
  const union { float f; uint32_t u; } x = {.f = value};
  const uint32_t sign = x.u >> 16 & 0x8000, magnitude = x.u & 0x7fffffff;
  const uint32_t normal = ((magnitude + 0xfff + (magnitude >> 13 & 1)) >> 13) - (112 << 10);
  const union { uint32_t u; float f; } absolute = {.u = magnitude};
  const union { float f; uint32_t u; } shifted = {.f = absolute.f + 0.5f};  // the spacing at 0.5 is that of subnormal f16
  uint32_t found = magnitude < 0x38800000 ? shifted.u - 0x3f000000 : normal;
  found = magnitude >= 0x477ff000 ? 0x7c00 : found;
  found = magnitude > 0x7f800000 ? (0x7e00 | (magnitude >> 13 & 0x3ff)) : found;
  return (uint16_t)(found | sign);
}
