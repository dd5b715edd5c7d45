// Work that several threads share.

//= us_share
// The part of `trips` iterations that thread `member` of `size` takes, in whole multiples of `grain`.
static inline void us_share(int64_t trips, int64_t grain, int64_t member, int64_t size, int64_t *begin, int64_t *end) {
  int64_t grains = (trips + grain - 1) / grain, low = grains * member / size * grain, high = grains * (member + 1) / size * grain;
  *begin = low < trips ? low : trips;
  *end = high < trips ? high : trips;
}
//= us_share_uneven
// As us_share, where the work of iterations goes evenly from `first` for the first one to `1 - first` for the last one: how many the
// threads before one have follows from the share of the work that they have.
static inline int64_t us_part(int64_t grains, int64_t member, int64_t size, double first) {
  double part = (double)member / (double)size;
  if (member == 0 || member == size) return member ? grains : 0;
  return (int64_t)((double)grains * (part / (first + sqrt(first * first + (1.0 - 2.0 * first) * part))) + 0.5);
}
static inline void us_share_uneven(
    int64_t trips, int64_t grain, int64_t member, int64_t size, double first, int64_t *begin, int64_t *end) {
  int64_t grains = (trips + grain - 1) / grain;
  int64_t low = us_part(grains, member, size, first) * grain, high = us_part(grains, member + 1, size, first) * grain;
  *begin = low < trips ? low : trips;
  *end = high < trips ? high : trips;
}
//= us_team
// Meeting point of the threads that work on one problem. Waiting spins for a moment, then gives the processor away.
typedef struct {
  _Alignas(64) _Atomic int arrived;
  _Alignas(64) _Atomic int phase;
} us_team;
//= us_barrier
static inline void us_barrier(us_team *team, int64_t size) {
  if (size == 1) return;
  int phase = atomic_load_explicit(&team->phase, memory_order_relaxed);
  if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) == size - 1) {
    atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
    atomic_store_explicit(&team->phase, phase + 1, memory_order_release);
    return;
  }
  int spin = 0;
  while (atomic_load_explicit(&team->phase, memory_order_acquire) == phase) {
#if defined(__x86_64__)
    if (spin < 2000) {
      spin++;
      __builtin_ia32_pause();
      continue;
    }
#endif
    sched_yield();
  }
}
//= us_room
// Bytes that scratch of a size takes: whole cache lines, and one more so that equal arrays do not share cache sets.
static inline int64_t us_room(int64_t bytes) { return (bytes + 127) / 64 * 64; }
