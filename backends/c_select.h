// Selection on rows of contiguous arrays. Order as PyTorch: NaN is the largest, -0 equals 0, ties go to the lowest index.

//= us_rank : f32
static inline uint64_t us_rank_f32(float v) {  // an unsigned integer in the order of the values
  uint32_t u;
  v = v == 0 ? 0.0f : v;
  memcpy(&u, &v, 4);
  u = u >> 31 ? ~u : u | 0x80000000u;
  return v != v ? 0xffffffffu : u;
}
//= us_rank : f64
static inline uint64_t us_rank_f64(double v) {
  uint64_t u;
  v = v == 0 ? 0.0 : v;
  memcpy(&u, &v, 8);
  u = u >> 63 ? ~u : u | 0x8000000000000000u;
  return v != v ? ~(uint64_t)0 : u;
}
//= us_rank : i8 i16 i32 i64 bool
static inline uint64_t us_rank_$t($T v) { return ((uint64_t)(int64_t)v + ((uint64_t)1 << ($b - 1))) & (~(uint64_t)0 >> (64 - $b)); }

//= us_topk_mask : f32 f64 i8 i16 i32 i64
// mask[r, i] = whether values[r, i] is among the `count` largest of its row. Radix selection: no scratch, no branches on data order.
static void us_topk_mask_$t(uint8_t *restrict mask, const $T *restrict values, int64_t count, int64_t rows, int64_t n, int *failed, int number) {
  if (count < 0 || count > n) {
    if (*failed == 0) *failed = number;
    count = count < 0 ? 0 : n;
  }
  for (int64_t r = 0; r < rows; r++, values += n, mask += n) {
    uint64_t prefix = 0, wanted = 0;  // ranks that agree with `prefix` in the bits of `wanted` are still candidates
    int64_t left = count;
    for (int shift = $b - 8; shift >= 0 && count > 0; shift -= 8) {
      int64_t histogram[256] = {0};
      for (int64_t i = 0; i < n; i++) {
        uint64_t u = us_rank_$t(values[i]);
        histogram[u >> shift & 255] += (u & wanted) == prefix;
      }
      int digit = 255;
      while (histogram[digit] < left) left -= histogram[digit--];
      prefix |= (uint64_t)digit << shift;
      wanted |= (uint64_t)255 << shift;
    }
    for (int64_t i = 0; i < n; i++) {
      uint64_t u = us_rank_$t(values[i]);
      int tie = u == prefix && left > 0;
      mask[i] = count > 0 && (u > prefix || tie);
      left -= tie;
    }
  }
}

//= us_before : f32 f64 i8 i16 i32 i64
static inline int us_before_$t(const $T *values, int64_t i, int64_t j, int descending) {
  uint64_t a = us_rank_$t(values[i]), b = us_rank_$t(values[j]);
  return a == b ? i < j : descending ? a > b : a < b;
}
//= us_order : f32 f64 i8 i16 i32 i64
// Heap sort of indices by value, stable because the order is total.
static void us_order_$t(int64_t *index, const $T *values, int64_t n, int descending) {
  for (int64_t start = n / 2, end = n; end > 1;) {
    if (start > 0) start--;
    else { int64_t last = index[--end]; index[end] = index[0]; index[0] = last; }
    int64_t moved = index[start], hole = start;
    for (int64_t child; (child = 2 * hole + 1) < end; hole = child) {
      if (child + 1 < end && us_before_$t(values, index[child], index[child + 1], descending)) child++;
      if (!us_before_$t(values, moved, index[child], descending)) break;
      index[hole] = index[child];
    }
    index[hole] = moved;
  }
}
//= us_topk : f32 f64 i8 i16 i32 i64
static void us_topk_$t($T *restrict best, int64_t *restrict index, uint8_t *restrict mask, const $T *restrict values, int64_t rows, int64_t n, int64_t count) {
  int never = 0;
  us_topk_mask_$t(mask, values, count, rows, n, &never, 0);
  for (int64_t r = 0; r < rows; r++, values += n, mask += n, best += count, index += count) {
    for (int64_t i = 0, used = 0; i < n; i++) if (mask[i]) index[used++] = i;
    us_order_$t(index, values, count, 1);
    for (int64_t i = 0; i < count; i++) best[i] = values[index[i]];
  }
}
//= us_argsort : f32 f64 i8 i16 i32 i64
static void us_argsort_$t(int64_t *restrict index, const $T *restrict values, int64_t rows, int64_t n, int64_t descending) {
  for (int64_t r = 0; r < rows; r++, values += n, index += n) {
    for (int64_t i = 0; i < n; i++) index[i] = i;
    us_order_$t(index, values, n, (int)descending);
  }
}
