// Finds races by the order that barriers, warp operations, fences and atomics make, whatever order the threads happened to run in: part of
// fibers.cpp.
//
// Two accesses of different threads to one element, one of them a write, must be ordered. Every thread counts its own `time`, which grows where it
// orders itself to others; an access at time T of thread t is ordered before all that thread u does once u knows t at a time later than T:
//
//   same warp    u's `lanes`: times of the lanes at their last warp operation together, or barrier
//   same block   the block's `base`: times of its threads at its last barrier
//   elsewhere    u's `far`: for each block the number of barriers that are known to be through there, and times of single threads
//
// `far` is learned by atomics as in the memory model: what a thread knew at its last fence is left at the element that its atomic touches; whoever
// touches that element by an atomic, and then fences, knows it too. Barriers and warp operations share it.
//
// Each element remembers its last plain write, and readers and atomics since. Many of them are kept together: by block and number of the barrier,
// which warps they were of, and, while they were all of one warp, the time of each lane.

namespace races {

// -- memory for one launch ------------------------------------------------------------------------------------------------------------------

std::vector<char *> chunks;
size_t chunk_now, chunk_at;
constexpr size_t CHUNK = 1 << 20;

void *take(size_t bytes) {  // zeros
  bytes = (bytes + 15) / 16 * 16;
  if (bytes > CHUNK) failed(FAULT, nullptr, nullptr, 0, "a grid of %lld blocks is too large for the race detector", (long long)launch.grid);
  if (chunk_at + bytes > CHUNK) ++chunk_now, chunk_at = 0;
  while (chunks.size() <= chunk_now) {
    char *made = (char *)mmap(nullptr, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (made == MAP_FAILED) failed(FAULT, nullptr, nullptr, 0, "no memory for the race detector");
    chunks.push_back(made);
  }
  char *found = chunks[chunk_now] + chunk_at;
  chunk_at += bytes;
  memset(found, 0, bytes);
  return found;
}

template <class T> T *make(size_t count = 1) { return (T *)take(count * sizeof(T)); }

}  // namespace races

struct Known {
  uint32_t *blocks;  // barriers of each block that are known to be through
  struct Single {
    int id;
    uint32_t time;
  } *singles;  // threads known beyond that: accesses before these times
  int count;
};

namespace races {

uint32_t known_time(const Known *known, int id) {
  if (known)
    for (int i = 0; i < known->count; ++i)
      if (known->singles[i].id == id) return known->singles[i].time;
  return 0;
}

bool covers(const Known *a, const Known *b) {  // whether a knows all of b
  if (a == b || !b) return true;
  if (!a) return false;
  for (int i = 0; i < launch.grid; ++i)
    if (a->blocks[i] < b->blocks[i]) return false;
  for (int i = 0; i < b->count; ++i)
    if (known_time(a, b->singles[i].id) < b->singles[i].time) return false;
  return true;
}

const Known *merged(const Known *a, const Known *b) {
  if (covers(a, b)) return a;
  if (covers(b, a)) return b;
  Known *out = make<Known>();
  out->blocks = make<uint32_t>(launch.grid);
  for (int i = 0; i < launch.grid; ++i) out->blocks[i] = std::max(a->blocks[i], b->blocks[i]);
  out->singles = make<Known::Single>(a->count + b->count);
  for (int i = 0; i < a->count; ++i) out->singles[out->count++] = {a->singles[i].id, std::max(a->singles[i].time, known_time(b, a->singles[i].id))};
  for (int i = 0; i < b->count; ++i)
    if (!known_time(a, b->singles[i].id)) out->singles[out->count++] = b->singles[i];
  return out;
}

// -- what each element remembers ------------------------------------------------------------------------------------------------------------

struct Access {
  int id;
  uint32_t time;  // 0: none
  uint32_t epoch, code;
};

struct Group {  // accesses of one block between two barriers
  int block;    // -1: none
  uint32_t epoch, warps;
  Access last, elsewhere;  // the last one, and the last one of another warp than that
  uint32_t *lanes;         // times, while all were of one warp
  Group *next;             // of other blocks
};

struct Element {
  Access write;
  Group reads, atomics;
  const Known *left;  // by atomics
  uint32_t version;
};

struct Line {  // 64 bytes of memory, in elements of 1, 2, 4 or 8
  uintptr_t key;
  int shift;
  int generation;
  Element *elements;
};

std::vector<Line> table;
size_t lines;
int generation;  // of shared memory: grows with each block that is started in the same place

Element *fresh(int shift) {
  Element *made = make<Element>(64 >> shift);
  for (int i = 0; i < 64 >> shift; ++i) made[i].reads.block = made[i].atomics.block = -1;
  return made;
}

Group copied(const Group &from) {
  Group out = from;
  if (from.lanes) out.lanes = make<uint32_t>(32), memcpy(out.lanes, from.lanes, 128);
  if (from.next) out.next = make<Group>(), *out.next = copied(*from.next);
  return out;
}

void split(Line *line, int shift) {  // into smaller elements, each with all that the larger one remembers
  Element *finer = fresh(shift);
  for (int i = 0; i < 64 >> shift; ++i) {
    const Element &from = line->elements[i >> (line->shift - shift)];
    finer[i] = from;
    finer[i].reads = copied(from.reads), finer[i].atomics = copied(from.atomics);
  }
  line->elements = finer, line->shift = shift;
}

size_t place(uintptr_t key) { return (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & (table.size() - 1); }

Line *line_of(uintptr_t address, int shift, bool shared) {
  const uintptr_t key = address >> 6;
  size_t at = place(key);
  while (table[at].elements && table[at].key != key) at = (at + 1) & (table.size() - 1);
  Line *line = &table[at];
  if (!line->elements) {
    if (++lines * 2 > table.size()) {
      std::vector<Line> old;
      old.swap(table);
      table.assign(old.size() * 2, Line());
      for (const Line &l : old) {
        if (!l.elements) continue;
        size_t to = place(l.key);
        while (table[to].elements) to = (to + 1) & (table.size() - 1);
        table[to] = l;
      }
      --lines;
      return line_of(address, shift, shared);
    }
    *line = {key, shift, generation, fresh(shift)};
  } else if (shared && line->generation != generation) {
    line->generation = generation;
    for (int i = 0; i < 64 >> line->shift; ++i) line->elements[i] = Element(), line->elements[i].reads.block = line->elements[i].atomics.block = -1;
  }
  if (shift < line->shift) split(line, shift);
  return line;
}

// -- the order -------------------------------------------------------------------------------------------------------------------------------

bool ordered(int id, uint32_t time, uint32_t epoch) {  // whether an access comes before all that the current thread does
  if (id == current->id) return true;
  const int block = id / launch.threads, thread = id % launch.threads;
  const Known *far = current->far;
  if (block == current->block->index) {
    if (thread / 32 == current->thread / 32 ? time < current->lanes[thread % 32] : time < current->block->base[thread]) return true;
  } else if (far && far->blocks[block] > epoch) {
    return true;
  }
  return far && time < known_time(far, id);
}

const Access *unordered(const Group &group) {  // one of them that is not; null: all are
  for (const Group *g = &group; g && g->block >= 0; g = g->next) {
    const bool own = g->block == current->block->index;
    if (own && g->epoch < current->block->epoch) continue;
    if (!own && current->far && current->far->blocks[g->block] > g->epoch) continue;
    if (g->lanes) {
      const int start = g->last.id - g->last.id % launch.threads % 32;
      for (int i = 0; i < 32; ++i)
        if (g->lanes[i] && !ordered(start + i, g->lanes[i], g->epoch)) {
          static Access found;
          found = g->last, found.id = start + i;
          return &found;
        }
    } else {
      if (!ordered(g->last.id, g->last.time, g->epoch)) return &g->last;
      if (g->elsewhere.time && !ordered(g->elsewhere.id, g->elsewhere.time, g->epoch)) return &g->elsewhere;
    }
  }
  return nullptr;
}

void add(Group &group, const Access &access) {
  const int block = current->block->index, warp = current->thread / 32;
  Group *g = &group;
  if (g->block >= 0 && g->block != block) {
    while (g->next && g->next->block != block) g = g->next;
    if (!g->next) {
      g->next = make<Group>();
      g->next->block = -1;
    }
    g = g->next;
  }
  const uint32_t bit = 1u << warp;
  if (g->block < 0 || g->epoch != access.epoch) {  // older ones of this block come before
    g->block = block, g->epoch = access.epoch, g->warps = bit, g->last = access, g->elsewhere.time = 0;
    g->lanes = nullptr;
    return;
  }
  if (g->last.id == access.id) {
    g->last = access;
    if (g->lanes) g->lanes[current->thread % 32] = access.time;
    return;
  }
  if (g->warps == bit) {
    if (!g->lanes) {
      g->lanes = make<uint32_t>(32);
      g->lanes[g->last.id % launch.threads % 32] = g->last.time;
    }
    g->lanes[current->thread % 32] = access.time;
  } else {
    g->lanes = nullptr;
    if (g->last.id % launch.threads / 32 != warp) g->elsewhere = g->last;
    g->warps |= bit;
  }
  g->last = access;
}

void clear(Group &group) { group.block = -1, group.next = nullptr, group.lanes = nullptr; }

void locate(uintptr_t address, int how, const char *code) {  // for the report: in shared memory, from its start on
  const uintptr_t dynamic = (uintptr_t)machine.dynamic, statics = (uintptr_t)launch.text->statics;
  report->address = (int64_t)address, report->how = how, report->code = code - launch.text->code;
  if (address >= dynamic && address < dynamic + launch.shared) report->address = (int64_t)(address - dynamic), report->how |= US_IN_SHARED;
  else if (statics && address >= statics && address < (uintptr_t)launch.text->statics_end)
    report->address = (int64_t)(address - statics), report->how |= US_IN_SHARED;
}

[[noreturn]] void race(uintptr_t address, int bytes, int how, const Access &other, int other_how, const char *code) {
  locate(address, how, code);
  report->other_how = other_how;
  report->other_code = (int32_t)other.code;
  const Fiber *first = current;
  static Fiber second;
  static Block its_block;
  its_block.index = other.id / launch.threads;
  second.block = &its_block, second.thread = other.id % launch.threads;
  failed(RACE, first, &second, bytes, "no barrier orders two accesses");
}

void bounds(uintptr_t address, int bytes, int how, const char *code) {
  const bool shared = how & US_IN_SHARED;
  const int alignment = how >> US_ALIGNMENT;
  if (address & (alignment - 1)) {
    locate(address, how, code);
    failed(ALIGNMENT, current, nullptr, 0, "it accesses %d bytes at an address that is no multiple of %d", bytes, alignment);
  }
  const uintptr_t dynamic = (uintptr_t)machine.dynamic, statics = (uintptr_t)launch.text->statics, end = (uintptr_t)launch.text->statics_end;
  if (address >= dynamic && address + bytes <= dynamic + launch.shared) return;
  if (statics && address >= statics && address + bytes <= end) return;
  if (shared) {
    report->code = code - launch.text->code;
    failed(BOUNDS, current, nullptr, 0, "it accesses %d bytes at %lld of the %lld bytes of shared memory of its block", bytes,
           (long long)(address - dynamic), (long long)launch.shared);
  }
  if (!launch.ranges) return;
  static int64_t last = 0;
  if (last < launch.ranges && address >= (uintptr_t)launch.bounds[2 * last] && address + bytes <= (uintptr_t)launch.bounds[2 * last + 1]) return;
  for (last = 0; last < launch.ranges; ++last)
    if (address >= (uintptr_t)launch.bounds[2 * last] && address + bytes <= (uintptr_t)launch.bounds[2 * last + 1]) return;
  last = 0;
  locate(address, how, code);
  failed(BOUNDS, current, nullptr, 0, "it accesses %d bytes outside of every array", bytes);
}

void atomic(Element &element) {  // what it leaves, and what it finds
  const Known *before = element.left;
  if (current->fenced) element.left = merged(element.left, current->fenced);
  if (element.left != before) ++element.version;
  if (current->seen_at == &element && current->seen_version == element.version) return;
  current->pending = element.left ? merged(current->pending, element.left) : current->pending;
  current->seen_at = &element, current->seen_version = element.version;
}

void access(uintptr_t address, int bytes, int how, const char *code) {
  int kind = how & US_KINDS;
  const bool shared = how & US_IN_SHARED;
  bounds(address, bytes, how, code);
  const uintptr_t statics = (uintptr_t)launch.text->statics;
  const bool fixed = statics && address >= statics && address < (uintptr_t)launch.text->statics_end;
  const bool local = shared || fixed || (address >= (uintptr_t)shared_memory && address < (uintptr_t)shared_memory + shared_mapped);
  // the static memory of each block has an address of its own
  uintptr_t at = fixed ? ((uintptr_t)1 << 62) + ((uintptr_t)current->block->index << 32) + (address - statics) : address;
  int shift = bytes % 8 == 0 && address % 8 == 0 ? 3 : bytes % 4 == 0 && address % 4 == 0 ? 2 : bytes % 2 == 0 && address % 2 == 0 ? 1 : 0;
  const Access now = {current->id, current->time, current->block->epoch, (uint32_t)(code - launch.text->code)};
  for (const uintptr_t end = at + bytes; at < end;) {
    Line *line = line_of(at, shift, local);
    Element &element = line->elements[(at & 63) >> line->shift];
    const int size = 1 << line->shift;
    const uintptr_t shown = address + (at - (end - bytes));
    if (element.write.time) {
      if (!ordered(element.write.id, element.write.time, element.write.epoch)) race(shown, bytes, how, element.write, US_WRITE, code);
      if (kind == US_CACHED_READ) {
        locate(shown, how, code);
        failed(STALE, current, nullptr, 0, "it reads, through a cache that may be out of date, what was written while the kernel runs");
      }
    }
    if (kind != US_ATOMIC)
      if (const Access *other = unordered(element.atomics)) race(shown, bytes, how, *other, US_ATOMIC, code);
    if (kind == US_WRITE || kind == US_ATOMIC)
      if (const Access *other = unordered(element.reads)) race(shown, bytes, how, *other, US_READ, code);
    if (kind == US_WRITE) {
      element.write = now;
      clear(element.reads), clear(element.atomics);
    } else if (kind == US_ATOMIC) {
      add(element.atomics, now);
      atomic(element);
    } else {
      add(element.reads, now);
    }
    at += size;
  }
}

// -- what orders ---------------------------------------------------------------------------------------------------------------------------------

void met(Block *block) {  // at a barrier
  const Known *far = nullptr;
  for (int i = 0; i < launch.threads; ++i) {
    const Known *own = thread_at(block, i)->far;
    if (own != far) far = merged(far, own);
  }
  ++block->epoch;
  for (int i = 0; i < launch.threads; ++i) {
    Fiber *f = thread_at(block, i);
    f->far = far;
    block->base[i] = block->warps[i] = ++f->time;
    f->lanes = block->warps + i / 32 * 32;
  }
}

void met(Fiber *const *lanes, unsigned mask) {  // in a warp
  const Known *far = nullptr;
  const Fiber *one = nullptr;
  unsigned alive = 0;
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    one = lanes[i];
    if (one->far != far) far = merged(far, one->far);
  }
  Block *block = one->block;
  const int start = one->thread / 32 * 32;
  for (int i = 0; i < 32 && start + i < launch.threads; ++i)
    if (thread_at(block, start + i)->state != DONE) alive |= 1u << i;
  uint32_t *times = block->warps + start;
  if (mask != alive) {  // a part of the warp: what its lanes know of the others differs
    times = make<uint32_t>(32);
    for (int j = 0; j < 32; ++j)
      for (int i = 0; i < 32; ++i)
        if (mask >> i & 1) times[j] = std::max(times[j], lanes[i]->lanes[j]);
  }
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) times[i] = ++lanes[i]->time;
  for (int i = 0; i < 32; ++i)
    if (mask >> i & 1) lanes[i]->lanes = times, lanes[i]->far = far;
}

void fence() {
  Fiber *f = current;
  Block *block = f->block;
  if (f->pending) f->far = merged(f->far, f->pending), f->pending = nullptr;
  Known *out = make<Known>();
  out->blocks = make<uint32_t>(launch.grid);
  if (f->far) memcpy(out->blocks, f->far->blocks, launch.grid * sizeof(uint32_t));
  out->blocks[block->index] = block->epoch;
  out->singles = make<Known::Single>((f->far ? f->far->count : 0) + 32);
  const int start = f->thread / 32 * 32;
  for (int i = 0; i < 32 && start + i < launch.threads; ++i) {
    const uint32_t time = start + i == f->thread ? f->time + 1 : f->lanes[i];
    if (time > block->base[start + i]) out->singles[out->count++] = {f->id - f->thread + start + i, time};
  }
  const int own = out->count;
  for (int i = 0; f->far && i < f->far->count; ++i) {
    const Known::Single single = f->far->singles[i];
    bool there = single.time == 0;
    for (int j = 0; j < own; ++j)
      if (out->singles[j].id == single.id) there = true, out->singles[j].time = std::max(out->singles[j].time, single.time);
    if (!there) out->singles[out->count++] = single;
  }
  f->fenced = out;
  ++f->time;
}

void start(Block *block) {  // a block that begins
  ++generation;
  block->epoch = 0;
  block->base = make<uint32_t>(launch.threads);
  block->warps = make<uint32_t>((launch.threads + 31) / 32 * 32);
  for (int i = 0; i < launch.threads; ++i) {
    Fiber *f = thread_at(block, i);
    f->time = 1, f->lanes = block->warps + i / 32 * 32;
    f->far = f->fenced = f->pending = nullptr, f->seen_at = nullptr, f->seen_version = 0;
  }
}

void begin(size_t) {  // a launch
  chunk_now = chunk_at = 0;
  lines = 0;
  generation = 0;
  table.assign(table.size() > 1 << 16 || table.empty() ? 1 << 12 : table.size(), Line());
}

}  // namespace races
