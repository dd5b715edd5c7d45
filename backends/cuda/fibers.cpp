// Runs a CUDA kernel on one processor thread with the semantics of blocks, warps and barriers. Each CUDA thread is a fiber with a stack of its
// own, which runs until it waits: at a barrier for its block, at a warp operation for the lanes named, in __nanosleep for whatever changes.
//
//   launch: block after block, or all of them at once (`together`), each block again and again until its threads are through
//   block:  its threads in the order asked for (forward, reverse, random), each until it waits
//
// What a GPU would punish by a wrong result, a hang or a crash ends the launch with a report: threads that meet at different barriers, all threads
// waiting for each other, memory accesses out of bounds, stack overflow, integer division by zero, and races (races.h).
#define US_RUNTIME
#include "on_cpu.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include <csetjmp>
#include <csignal>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

enum Kind { NONE, RACE, BARRIER, DEADLOCK, BOUNDS, WARP, ALIGNMENT, FAULT, DIVISION, STALE, MISUSE };
enum Order { FORWARD, REVERSE, RANDOM };

struct us_report {  // what went wrong; -1 is nobody, addresses of code tell a line
  int kind, block, thread, other_block, other_thread, line, how, other_how;
  int64_t address, code, other_code;
  char text[512];
};
struct us_launch_options {
  const us_text *text;
  void **parameters;
  int64_t grid, threads, shared, together, order, seed, races, ranges;
  const int64_t *bounds;  // `ranges` pairs of addresses [begin, end) of global memory; none: not checked
};

namespace {

#include "stacks.h"

// -- the state of a launch -----------------------------------------------------------------------------------------------------------------

enum State { READY, AT_BARRIER, AT_WARP, ASLEEP, DONE };

struct Copy {
  char *to;
  const char *from;
  int bytes, group;
};

struct Block;
struct Known;

struct Fiber {
  void *sp;
  State state;
  int thread;
  Block *block;
  // what it waits for
  int op, line, value;
  unsigned mask;
  const void *in;
  void *out;
  // copies that are under way
  std::vector<Copy> copies;
  int group;
  // what the race detector knows of it (races.h)
  int id;                  // of all threads of the grid
  uint32_t time;           // grows at whatever orders accesses
  uint32_t *lanes;         // accesses of each lane of its warp before these times are known to it
  const Known *far;        // and those of other blocks
  const Known *fenced;     // what it knew at its last fence: handed over by its atomics
  const Known *pending;    // what its atomics have seen: known after its next fence
  const void *seen_at;
  uint32_t seen_version;
};

struct Warp {
  unsigned alive, waiting;  // lanes: those that have not returned, those that wait for others
};

struct Block {
  int index, live, arrived, op, line, result;
  int first;  // of its fibers
  char *dynamic, *statics;
  Warp lanes[32];
  uint32_t epoch, *base, *warps;  // races: barriers so far, times of its threads at the last one, times of lanes as their warps know them
};

us_machine machine;
us_launch_options launch;
us_report *report;
std::mutex only_one;
std::vector<Fiber> fibers;
std::vector<Block> blocks;
std::vector<char *> stacks;
std::vector<int> turn;
Fiber *current;
Block *inside;
void *scheduler;
bool progress;
uint64_t random_state;
sigjmp_buf escape;
pthread_t owner;
volatile sig_atomic_t running;
size_t page;
char *shared_memory;
size_t shared_mapped, shared_stride, shared_rounded;

Fiber *thread_at(Block *block, int thread) { return &fibers[block->first + thread]; }
int block_of(const Fiber *f) { return f ? f->block->index : -1; }
int thread_of(const Fiber *f) { return f ? f->thread : -1; }

[[noreturn]] void give_up() { siglongjmp(escape, 1); }

[[noreturn]] void failed(Kind kind, const Fiber *who, const Fiber *other, int line, const char *format, ...) {
  report->kind = kind;
  report->block = block_of(who), report->thread = thread_of(who);
  report->other_block = block_of(other), report->other_thread = thread_of(other);
  report->line = line;
  va_list rest;
  va_start(rest, format);
  vsnprintf(report->text, sizeof report->text, format, rest);
  va_end(rest);
  give_up();
}

void pause_here(State state) {
  current->state = state;
  us_switch(&current->sp, scheduler);
}

#include "races.h"

// -- barriers and warps --------------------------------------------------------------------------------------------------------------------

const Fiber *any(Block *block, State state) {
  for (int i = 0; i < launch.threads; ++i)
    if (thread_at(block, i)->state == state) return thread_at(block, i);
  return nullptr;
}

int barrier(int op, int value, int line) {
  Block *block = inside;
  if (const Fiber *gone = block->live < launch.threads ? any(block, DONE) : nullptr)
    failed(BARRIER, current, gone, line, "it waits at a barrier that another thread, which has returned, never reaches");
  if (block->arrived && (block->op != op || block->line != line)) {
    const Fiber *other = any(block, AT_BARRIER);
    failed(BARRIER, current, other, line, "it waits at a barrier while another thread waits at the one in line %d", block->line);
  }
  current->value = value != 0, current->line = line;
  block->op = op, block->line = line;
  if (++block->arrived < block->live) {
    pause_here(AT_BARRIER);
    return block->result;
  }
  int sum = 0;
  for (int i = 0; i < launch.threads; ++i) sum += thread_at(block, i)->value;
  block->result = op == US_SYNC_AND ? sum == block->live : op == US_SYNC_OR ? sum != 0 : sum;
  block->arrived = 0;
  for (int i = 0; i < launch.threads; ++i) thread_at(block, i)->state = READY;
  progress = true;
  if (launch.races) races::met(block);
  if (launch.order != FORWARD) pause_here(READY);  // forward: the last one to arrive goes on
  return block->result;
}

#include "warps.h"

unsigned active() { return inside->lanes[current->thread / 32].alive; }

void fence() {
  if (launch.races) races::fence();
}

void sleep() { pause_here(ASLEEP); }

void fail(const char *why, int line) { failed(MISUSE, current, nullptr, line, "%s", why); }

void touch(const void *address, int bytes, int how) { races::access((uintptr_t)address, bytes, how, (char *)__builtin_return_address(0)); }

// -- copies beside the thread ---------------------------------------------------------------------------------------------------------------

void copy(void *to, const void *from, int bytes, int line) {
  if (bytes != 4 && bytes != 8 && bytes != 16) failed(MISUSE, current, nullptr, line, "an asynchronous copy of %d bytes; there are 4, 8 and 16", bytes);
  if ((uintptr_t)to % bytes || (uintptr_t)from % bytes)
    failed(ALIGNMENT, current, nullptr, line, "an asynchronous copy of %d bytes from or to an address that is no multiple of that", bytes);
  char *code = (char *)__builtin_return_address(0);
  if (launch.races) {
    races::access((uintptr_t)from, bytes, US_READ | bytes << US_ALIGNMENT, code);
    races::access((uintptr_t)to, bytes, US_WRITE | US_IN_SHARED | bytes << US_ALIGNMENT, code);
  }
  memset(to, 0xff, bytes);
  current->copies.push_back({(char *)to, (const char *)from, bytes, current->group});
}

void commit() { ++current->group; }

void wait(int groups) {
  std::vector<Copy> &copies = current->copies;
  size_t done = 0;
  char *code = (char *)__builtin_return_address(0);
  for (; done < copies.size() && copies[done].group < current->group - groups; ++done) {
    const Copy &c = copies[done];
    if (launch.races) {
      races::access((uintptr_t)c.from, c.bytes, US_READ | c.bytes << US_ALIGNMENT, code);
      races::access((uintptr_t)c.to, c.bytes, US_WRITE | US_IN_SHARED | c.bytes << US_ALIGNMENT, code);
    }
    memcpy(c.to, c.from, c.bytes);
  }
  copies.erase(copies.begin(), copies.begin() + done);
}

// -- the scheduler -----------------------------------------------------------------------------------------------------------------------------

void begin() {
  launch.text->kernel(&machine, launch.parameters);
  Block *block = inside;
  --block->live;
  if (!current->copies.empty()) failed(MISUSE, current, nullptr, 0, "it returns while an asynchronous copy is under way: no us_copy_wait");
  if (block->arrived)
    failed(BARRIER, current, any(block, AT_BARRIER), block->line, "it has returned while another thread waits at a barrier");
  current->state = DONE;
  progress = true;
  // lanes that wait for this one go on without it
  const int start = current->thread / 32 * 32;
  Warp *all = &block->lanes[start / 32];
  all->alive &= ~(1u << current->thread % 32);
  for (int i = 0; i < 32 && all->waiting; ++i) {
    Fiber *f = thread_at(block, start + i);
    if (!(all->waiting >> i & 1)) continue;
    Fiber *lanes[32] = {};
    unsigned there = 0;
    bool together = true;
    for (int j = 0; j < 32 && start + j < launch.threads; ++j) {
      Fiber *g = thread_at(block, start + j);
      if (!(f->mask >> j & 1) || g->state == DONE) continue;
      lanes[j] = g;
      there |= 1u << j;
      together = together && all->waiting >> j & 1 && g->op == f->op && g->mask == f->mask;
    }
    if (!together) continue;
    all->waiting &= ~there;
    if (f->op >= US_MMA_BF16) failed(WARP, f, current, f->line, "a lane of its warp takes no part in a matrix product");
    exchange(f->op, there, lanes);
    if (launch.races) races::met(lanes, there);
    for (int j = 0; j < 32; ++j)
      if (lanes[j]) lanes[j]->state = READY;
  }
  pause_here(DONE);
  abort();  // nobody runs what is done
}

uint64_t next_random() {
  random_state ^= random_state << 13, random_state ^= random_state >> 7, random_state ^= random_state << 17;
  return random_state;
}

void shuffle(std::vector<int> &order) {
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[next_random() % i]);
}

void fill_order(std::vector<int> &order, int64_t count) {
  order.resize(count);
  for (int64_t i = 0; i < count; ++i) order[i] = launch.order == REVERSE ? count - 1 - i : i;
}

void enter(Block *block) {
  const size_t statics = launch.text->statics_end - launch.text->statics;
  if (inside && inside != block && inside->statics && statics) memcpy(inside->statics, launch.text->statics, statics);
  if (inside != block && block->statics && statics) memcpy(launch.text->statics, block->statics, statics);
  inside = block;
  machine.block.x = block->index;
  machine.dynamic = block->dynamic;
}

void run(Block *block) {  // until nobody in it can go on
  enter(block);
  for (bool ran = true; ran && block->live;) {
    ran = false;
    if (launch.order == RANDOM) shuffle(turn);
    for (int i : turn) {
      Fiber *f = thread_at(block, i);
      if (f->state != READY) continue;
      current = f;
      machine.thread.x = i;
      us_switch(&scheduler, f->sp);
      ran = true;
    }
  }
}

char *stack(size_t number) {  // its upper end
  while (stacks.size() <= number) {
    const size_t many = 64;
    char *made = (char *)mmap(nullptr, many * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) failed(FAULT, nullptr, nullptr, 0, "no memory for the stacks of %lld threads", (long long)fibers.size());
    for (size_t i = 0; i < many; ++i) {
      if (stacks.size() < 16384) mprotect(made + i * STACK, GUARD, PROT_NONE);  // a process has a limited number of such pages
      stacks.push_back(made + i * STACK);
    }
  }
  return stacks[number] + STACK - number % 61 * 192;  // not all in the same lines of a cache
}

void start(Block *block, int index) {
  block->index = index, block->live = launch.threads, block->arrived = 0;
  for (int i = 0; i < launch.threads; i += 32) block->lanes[i / 32] = {launch.threads - i < 32 ? (1u << (launch.threads - i)) - 1 : ~0u, 0};
  for (int i = 0; i < launch.threads; ++i) {
    Fiber *f = thread_at(block, i);
    f->sp = prepared(stack(block->first + i));
    f->state = READY, f->thread = i, f->block = block, f->id = index * launch.threads + i, f->value = 0;
    f->copies.clear(), f->group = 0;
  }
  memset(block->dynamic, 0xff, shared_rounded);
  if (block->statics) memset(block->statics, 0xff, launch.text->statics_end - launch.text->statics);
  else if (launch.text->statics) memset(launch.text->statics, 0xff, launch.text->statics_end - launch.text->statics);
  if (launch.races) races::start(block);
}

void finish(Block *block) {
  for (const char *at = block->dynamic + launch.shared; at < block->dynamic + shared_rounded; ++at)
    if (*at != (char)0xff) failed(BOUNDS, thread_at(block, 0), nullptr, 0, "its block has written behind its %lld bytes of shared memory", (long long)launch.shared);
}

[[noreturn]] void stuck() {
  const Fiber *first = nullptr, *other = nullptr;
  for (Block &block : blocks) {
    for (int i = 0; block.live && i < launch.threads; ++i) {
      const Fiber *f = thread_at(&block, i);
      if (f->state == DONE) continue;
      if (!first) first = f;
      else if (!other && (f->state != first->state || (f->state != ASLEEP && f->line != first->line))) other = f;
    }
  }
  char what[2][64];
  for (int i = 0; i < 2; ++i) {
    const Fiber *f = i ? other : first;
    if (!f) continue;
    if (f->state == ASLEEP) snprintf(what[i], sizeof what[i], "waits in __nanosleep");
    else snprintf(what[i], sizeof what[i], "waits at the %s in line %d", f->state == AT_BARRIER ? "barrier" : "warp operation", f->line);
  }
  if (!other) failed(DEADLOCK, first, nullptr, 0, "it %s, as all others do, and nobody goes on", what[0]);
  failed(DEADLOCK, first, other, 0, "it %s, the other %s, and nobody goes on", what[0], what[1]);
}

void run_all() {
  std::vector<int> &order = turn;
  static std::vector<int> block_order;
  fill_order(order, launch.threads);
  fill_order(block_order, launch.grid);
  if (launch.order == RANDOM) shuffle(block_order);
  constexpr int PATIENCE = 20000;  // rounds in which nothing but sleeping happened
  for (int idle = 0, next = 0; next < launch.grid;) {
    if (launch.together && next == 0)
      for (int i = 0; i < launch.grid; ++i) start(&blocks[i], i);
    if (!launch.together) start(&blocks[0], block_order[next]);
    for (bool alive = true; alive;) {
      alive = false;
      progress = false, machine.changed = 0;
      bool asleep = false;
      if (launch.order == RANDOM && launch.together) shuffle(block_order);
      for (int64_t i = 0; i < (launch.together ? launch.grid : 1); ++i) {
        Block *block = &blocks[launch.together ? block_order[i] : 0];
        if (!block->live) continue;
        for (int j = 0; j < launch.threads; ++j)
          if (thread_at(block, j)->state == ASLEEP) thread_at(block, j)->state = READY;
        run(block);
        alive = alive || block->live;
        for (int j = 0; !asleep && j < launch.threads; ++j) asleep = thread_at(block, j)->state == ASLEEP;
      }
      idle = progress || machine.changed ? 0 : idle + 1;
      if (alive && (idle > PATIENCE || (idle && !asleep))) stuck();
    }
    if (!launch.together) finish(&blocks[0]), ++next;
    else {
      for (Block &block : blocks) finish(&block);
      next = launch.grid;
    }
  }
}

// -- faults ----------------------------------------------------------------------------------------------------------------------------------

const int SIGNALS[] = {SIGSEGV, SIGBUS, SIGFPE};
struct sigaction before[3];
char *signal_stack;
constexpr size_t SIGNAL_STACK = 128 << 10;

void on_signal(int number, siginfo_t *info, void *) {
  if (!running || !pthread_equal(pthread_self(), owner)) {  // not ours: to whoever had it, when it happens again
    for (int i = 0; i < 3; ++i)
      if (SIGNALS[i] == number) sigaction(number, &before[i], nullptr);
    return;
  }
  report->block = block_of(current), report->thread = thread_of(current);
  report->other_block = report->other_thread = -1;
  report->address = (int64_t)(uintptr_t)info->si_addr;
  const char *at = (const char *)info->si_addr;
  const char *text = "it touches memory that is not there";
  report->kind = FAULT;
  if (number == SIGFPE) report->kind = DIVISION, text = "it divides an integer by zero";
  else if (at >= shared_memory && at < shared_memory + shared_mapped) report->kind = BOUNDS, text = "it touches shared memory behind that of its block";
  else if (current) {
    const char *own = stacks[current->block->first + current->thread];
    if (at >= own && at < own + GUARD) text = "its local variables need more than 512 KiB";
  }
  strncpy(report->text, text, sizeof report->text - 1);
  give_up();
}

void take_signals() {
  stack_t alternative = {};
  if (!signal_stack) signal_stack = (char *)mmap(nullptr, SIGNAL_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
  alternative.ss_sp = signal_stack, alternative.ss_size = SIGNAL_STACK;
  sigaltstack(&alternative, nullptr);
  struct sigaction action = {};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &action, &before[i]);
}

void shared_memories(size_t count) {  // each ends where a page begins that cannot be touched
  shared_rounded = (launch.shared + 127) / 128 * 128;
  const size_t usable = (shared_rounded + page) / page * page;
  const size_t needed = count * (usable + page) + page;
  shared_stride = usable + page;
  if (shared_mapped != needed) {
    if (shared_memory) munmap(shared_memory, shared_mapped);
    shared_mapped = 0;
    shared_memory = (char *)mmap(nullptr, needed, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
    if (shared_memory == MAP_FAILED) {
      shared_memory = nullptr;
      failed(FAULT, nullptr, nullptr, 0, "no memory for the shared memory of %lld blocks", (long long)count);
    }
    shared_mapped = needed;
    for (size_t i = 0; i < count; ++i) mprotect(shared_memory + i * shared_stride + usable, page, PROT_NONE);
  }
  const size_t statics = launch.text->statics_end - launch.text->statics;
  static std::vector<char> saved;
  saved.resize(launch.together ? statics * count : 0);
  for (size_t i = 0; i < count; ++i) {
    blocks[i].dynamic = shared_memory + i * shared_stride + usable - shared_rounded;
    blocks[i].statics = launch.together && statics ? saved.data() + i * statics : nullptr;
  }
}

}  // namespace

// Runs a kernel; 0, or the kind of what went wrong, which the report tells. One launch runs at a time.
extern "C" int us_launch(const us_launch_options *options, us_report *out) {
  std::lock_guard<std::mutex> guard(only_one);
  launch = *options;
  report = out;
  memset(out, 0, sizeof *out);
  if (launch.grid <= 0) return 0;
  page = (size_t)sysconf(_SC_PAGESIZE);
  machine = {};
  machine.block_dim = {(unsigned)launch.threads, 1, 1};
  machine.grid_dim = {(unsigned)launch.grid, 1, 1};
  machine.barrier = barrier, machine.warp = warp, machine.active = active, machine.fence = fence, machine.sleep = sleep, machine.touch = touch;
  machine.copy = copy, machine.commit = commit, machine.wait = wait, machine.fail = fail;
  current = nullptr, inside = nullptr;
  random_state = (uint64_t)launch.seed * 0x9e3779b97f4a7c15u + 0x2545f4914f6cdd1du;
  owner = pthread_self();
  stack_t stack_before;
  sigaltstack(nullptr, &stack_before);
  take_signals();
  running = 1;
  if (sigsetjmp(escape, 1) == 0) {
    const size_t count = launch.together ? launch.grid : 1;
    blocks.assign(count, Block());
    if (fibers.size() < count * launch.threads) fibers.resize(count * launch.threads);
    for (size_t i = 0; i < count; ++i) blocks[i].first = i * launch.threads;
    shared_memories(count);
    if (launch.races) races::begin(count);
    run_all();
  }
  running = 0;
  for (int i = 0; i < 3; ++i) sigaction(SIGNALS[i], &before[i], nullptr);
  sigaltstack(&stack_before, nullptr);
  return out->kind;
}
