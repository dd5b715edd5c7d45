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
// Meeting point of the threads that work on one problem.
typedef struct {
  _Alignas(64) _Atomic int arrived;
  _Atomic int place;   // processor of who arrived last and waits, counted from 1; 0: nobody, or unknown
  _Atomic int shared;  // whether two of the team had one processor
  _Alignas(64) _Atomic int phase;
  _Atomic int asleep;
} us_team;
//= us_place
// The processor this thread is on, counted from 1; 0: unknown.
static inline int us_place(void) {
#if defined(__linux__)
  return sched_getcpu() + 1;
#else
  return 0;
#endif
}
//= us_apart
// A thread whose team waits on the same processor goes to another one, if it may. The system is in no hurry to do that: two threads
// that take turns look like one that is busy, and each turn of those who wait as OpenMP does takes a whole time slice.
static __attribute__((noinline, cold)) void us_apart(us_team *team, int here) {
#if defined(__linux__)
  cpu_set_t may, other;
  if (atomic_exchange(&team->shared, 1) || sched_getaffinity(0, sizeof may, &may)) return;
  other = may;
  CPU_CLR(here - 1, &other);
  if (!sched_setaffinity(0, sizeof other, &other)) sched_setaffinity(0, sizeof may, &may);  // refused where there is no other
#else
  (void)team, (void)here;
#endif
}
//= us_meet
// Notes where a thread comes to a meeting; goes apart from who came before.
static inline void us_meet(us_team *team) {
  const int here = us_place();
  if (here && atomic_exchange_explicit(&team->place, here, memory_order_relaxed) == here) us_apart(team, here);
}
//= us_wait
// Waits for the end of a phase: watches for about as long as waking a thread takes (some 12 us), then sleeps, so that on a busy machine those
// who are waited for get the processor. To yield to whoever wants it instead may take many time slices.
static __attribute__((noinline)) void us_wait(us_team *team, int phase) {
#if defined(__x86_64__)
  const uint64_t begin = __builtin_ia32_rdtsc();
  while (__builtin_ia32_rdtsc() - begin < 32768) {
    if (atomic_load_explicit(&team->phase, memory_order_acquire) != phase) return;
    __builtin_ia32_pause();
  }
#elif defined(__aarch64__)
  uint64_t begin, now, frequency;
  __asm__ volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
  __asm__ volatile("mrs %0, cntvct_el0" : "=r"(begin));
  do {
    if (atomic_load_explicit(&team->phase, memory_order_acquire) != phase) return;
    __asm__ volatile("yield");
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(now));
  } while (now - begin < frequency / 80000);
#endif
#if defined(__linux__)
  atomic_fetch_add(&team->asleep, 1);
  while (atomic_load_explicit(&team->phase, memory_order_acquire) == phase)
    syscall(SYS_futex, &team->phase, FUTEX_WAIT_PRIVATE, phase, (void *)0, (void *)0, 0);
  atomic_fetch_sub(&team->asleep, 1);
#else
  while (atomic_load_explicit(&team->phase, memory_order_acquire) == phase) sched_yield();
#endif
}
//= us_open
// Ends a phase: those who wait for that go on.
static inline void us_open(us_team *team, int phase) {
  atomic_store(&team->phase, (int)((unsigned)phase + 1));  // before it looks for sleepers, who look at the phase once they are counted
#if defined(__linux__)
  if (atomic_load(&team->asleep)) syscall(SYS_futex, &team->phase, FUTEX_WAKE_PRIVATE, INT32_MAX, (void *)0, (void *)0, 0);
#endif
}
//= us_barrier
static inline void us_barrier(us_team *team, int64_t size) {
  if (size == 1) return;
  const int phase = atomic_load_explicit(&team->phase, memory_order_relaxed);
  us_meet(team);
  if (atomic_fetch_add_explicit(&team->arrived, 1, memory_order_acq_rel) != size - 1) {
    if (atomic_load_explicit(&team->phase, memory_order_acquire) == phase) us_wait(team, phase);
    return;
  }
  atomic_store_explicit(&team->arrived, 0, memory_order_relaxed);
  atomic_store_explicit(&team->place, 0, memory_order_relaxed);
  us_open(team, phase);
}
//= us_leave
// The end of a call: the first thread waits until the others are done. What OpenMP does there would keep the processor busy for much longer,
// and they could not become done if they wait for that one.
static inline void us_leave(us_team *end, int64_t thread, int64_t size) {
  if (size == 1) return;
  us_meet(end);
  if (thread == 0) {
    if (atomic_load_explicit(&end->phase, memory_order_acquire) == 0) us_wait(end, 0);
  } else if (atomic_fetch_add_explicit(&end->arrived, 1, memory_order_acq_rel) == size - 2) {
    us_open(end, 0);
  }
}
//= us_room
// Bytes that scratch of a size takes: whole cache lines, and one more so that equal arrays do not share cache sets.
static inline int64_t us_room(int64_t bytes) { return (bytes + 127) / 64 * 64; }
