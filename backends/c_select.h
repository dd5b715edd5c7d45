// Selection on rows of contiguous arrays. Order as PyTorch: NaN is the largest, -0 equals 0, ties go to the lowest index.

//= us_key : f32 f64
static inline $K us_key_$t($T v) {  // a signed integer in the order of the values
  const $K most = ($K)(~(uint64_t)0 >> (65 - $b));
  $T infinity = INFINITY;
  $K u, i;
  v += 0;  // -0 to 0
  memcpy(&u, &v, sizeof u);
  memcpy(&i, &infinity, sizeof i);
  u = (u & most) > i ? most : u;
  return u ^ (u >> ($b - 1) & most);  // of numbers below 0, those with larger bits are smaller
}
//= us_key : i8 i16 i32 i64
static inline $K us_key_$t($T v) { return v; }

//= us_keys : f32 f64 i8 i16 i32 i64
#if defined(__AVX512F__)  // longer than the machine's, compilers take vectors apart
typedef $K us_keys_$t __attribute__((vector_size(64)));
#elif defined(__AVX2__)
typedef $K us_keys_$t __attribute__((vector_size(32)));
#else
typedef $K us_keys_$t __attribute__((vector_size(16)));
#endif
//= us_few_threshold : f32 f64 i8 i16 i32 i64
// In best[j], the j-th largest key of each row, for as many rows at once as vectors have lanes: four keys of every row at a time are
// inserted into sorted lists, which takes a maximum and a minimum per place and no branch.
static void us_few_threshold_$t(us_keys_$t *restrict best, const $T *restrict values, int64_t count, int64_t rows, int64_t n) {
  enum { lanes = sizeof(us_keys_$t) / sizeof($K) };
  const $T *row[lanes];
  $K low = ($K)(~(uint64_t)0 << (8 * sizeof($K) - 1));
  for (int l = 0; l < lanes; l++) row[l] = values + (l < rows ? l : 0) * n;
  for (int64_t j = 0; j < count; j++) for (int l = 0; l < lanes; l++) best[j][l] = low;
  for (int64_t i = 0; i < n; i += 4) {
    us_keys_$t v[4];
    $T part[lanes][4];
    $K key[4][lanes];
    int full = i + 4 <= n;
    for (int l = 0; l < lanes; l++) {
      if (full) memcpy(part[l], row[l] + i, sizeof part[l]);
      else for (int q = 0; q < 4; q++) part[l][q] = row[l][i + q < n ? i + q : n - 1];
    }
    for (int q = 0; q < 4; q++) for (int l = 0; l < lanes; l++) key[q][l] = us_key_$t(part[l][q]);
    for (int q = 0; q < 4; q++) for (int l = 0; l < lanes; l++) key[q][l] = i + q < n ? key[q][l] : low;
    memcpy(v, key, sizeof v);
    for (int64_t j = 0; j < count; j++) {
      us_keys_$t s = best[j];
      for (int q = 0; q < 4; q++) {
        us_keys_$t larger = s > v[q], high = (s & larger) | (v[q] & ~larger);
        v[q] = (v[q] & larger) | (s & ~larger);
        s = high;
      }
      best[j] = s;
    }
  }
}
//= us_threshold : f32 f64 i8 i16 i32 i64
// The `count`-th largest key of a row, bit by bit: the largest number that `count` keys are not below.
static $K us_threshold_$t(const $T *restrict values, int64_t count, int64_t n) {
  $K found = ($K)(~(uint64_t)0 << ($b - 1));
  for (int bit = $b - 1; bit >= 0; bit--) {
    $K tried = ($K)((uint64_t)found + ((uint64_t)1 << bit));
    int64_t above = 0;
    for (int64_t i = 0; i < n; i++) above += us_key_$t(values[i]) >= tried;
    found = above >= count ? tried : found;
  }
  return found;
}
//= us_topk_mask : f32 f64 i8 i16 i32 i64
// mask[r, i] = whether values[r, i] is among the `count` largest of its row.
static void us_topk_mask_$t(uint8_t *restrict mask, const $T *restrict values, int64_t count, int64_t rows, int64_t n, int *failed, int number) {
  enum { lanes = sizeof(us_keys_$t) / sizeof($K), few = 64 };
  us_keys_$t best[few];
  if (count < 0 || count > n) {
    if (*failed == 0) *failed = number;
    count = count < 0 ? 0 : n;
  }
  if (count == 0) memset(mask, 0, rows * n);
  int together = 0;
  for (int64_t r = 0; r < rows && count > 0; r++, values += n, mask += n) {
    int lane = r % lanes;
    if (lane == 0) {  // the measured cost of a row bit by bit against that of lists for all lanes
      int64_t group = rows - r < lanes ? rows - r : lanes;
      together = count <= few && group * (n + 24) * (4 * $b / lanes) > n * (lanes + 10 + count);
      if (together) us_few_threshold_$t(best, values, count, group, n);
    }
    $K limit = together ? best[count - 1][lane] : us_threshold_$t(values, count, n);
    int64_t left = count;
    for (int64_t i = 0; i < n; i++) left -= mask[i] = us_key_$t(values[i]) >= limit;
    for (int64_t i = n; left < 0;) {  // more equal the limit than wanted: drop the last ones
      int drop = us_key_$t(values[--i]) == limit;
      mask[i] = mask[i] & !drop;
      left += drop;
    }
  }
}

//= us_before : f32 f64 i8 i16 i32 i64
static inline int us_before_$t(const $T *values, int64_t i, int64_t j, int descending) {
  $K a = us_key_$t(values[i]), b = us_key_$t(values[j]);
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
