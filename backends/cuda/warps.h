// What the lanes of a warp do together: shuffles, votes, sums, matrix products. Part of fibers.cpp.

float fragment(unsigned bits, bool bf16) {
  unsigned sign = (bits & 0x8000u) << 16, rest = bits & 0x7fffu, wide;
  float out;
  if (bf16) wide = bits << 16;
  else if (rest >= 0x7c00u) wide = sign | 0x7f800000u | (rest & 0x3ffu) << 13;
  else if (rest >= 0x400u) wide = sign | ((rest << 13) + 0x38000000u);
  else return (bits & 0x8000u ? -1.0f : 1.0f) * (float)rest * 5.9604644775390625e-8f;
  memcpy(&out, &wide, sizeof out);
  return out;
}

// The product of a 16 x k by a k x 8 matrix, whose elements lie in the lanes as the PTX manual tells (mma.m16n8k16, mma.m16n8k8).
void multiply(int op, Fiber *const *lanes) {
  const int k = op == US_MMA_TF32 ? 8 : 16;
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const us_fragments *in = (const us_fragments *)lanes[lane]->in;
    const int row = lane / 4, column = lane % 4;
    for (int r = 0; r < 4; ++r) {
      const int i = row + 8 * (r & 1);
      if (op == US_MMA_TF32) {
        const unsigned bits = in->a[r] & ~0x1fffu;
        memcpy(&a[i][column + 4 * (r >> 1)], &bits, 4);
      } else {
        for (int half = 0; half < 2; ++half)
          a[i][2 * column + half + 8 * (r >> 1)] = fragment(in->a[r] >> 16 * half & 0xffffu, op == US_MMA_BF16);
      }
    }
    for (int r = 0; r < 2; ++r) {
      if (op == US_MMA_TF32) {
        const unsigned bits = in->b[r] & ~0x1fffu;
        memcpy(&b[column + 4 * r][row], &bits, 4);
      } else {
        for (int half = 0; half < 2; ++half)
          b[2 * column + half + 8 * r][row] = fragment(in->b[r] >> 16 * half & 0xffffu, op == US_MMA_BF16);
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const us_fragments *in = (const us_fragments *)lanes[lane]->in;
    float *out = (float *)lanes[lane]->out;
    for (int r = 0; r < 4; ++r) {
      const int i = lane / 4 + 8 * (r >> 1), j = 2 * (lane % 4) + (r & 1);
      double sum = in->c[r];
      for (int q = 0; q < k; ++q) sum += (double)a[i][q] * b[q][j];
      out[r] = (float)sum;
    }
  }
}

void exchange(int op, unsigned mask, Fiber *const *lanes) {
  if (op == US_SYNCWARP) return;
  if (op >= US_MMA_BF16) return multiply(op, lanes);
  unsigned ballot = 0;
  int64_t total = op == US_AND ? -1 : 0;
  bool first = true;
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    if (op == US_BALLOT) ballot |= *(const unsigned *)lanes[i]->in << i;
    if (op < US_ADD) continue;
    const int64_t value = *(const int64_t *)lanes[i]->in;
    if (op == US_ADD) total += value;
    else if (op == US_AND) total &= value;
    else if (op == US_OR) total |= value;
    else if (op == US_XOR) total ^= value;
    else if (first || (op == US_MIN ? value < total : value > total)) total = value;
    first = false;
  }
  for (int i = 0; i < 32; ++i) {
    if (!(mask >> i & 1)) continue;
    if (op == US_SHUFFLE) {
      const int from = ((const us_shuffled *)lanes[i]->in)->lane & 31;
      if (mask >> from & 1) *(uint64_t *)lanes[i]->out = ((const us_shuffled *)lanes[from]->in)->value;
      else memset(lanes[i]->out, 0xff, 8);  // of a lane that takes no part: anything
    } else if (op == US_BALLOT) {
      *(unsigned *)lanes[i]->out = ballot;
    } else if (op == US_MATCH) {
      unsigned same = 0;
      for (int j = 0; j < 32; ++j)
        if (mask >> j & 1) same |= (unsigned)(memcmp(lanes[i]->in, lanes[j]->in, 8) == 0) << j;
      *(unsigned *)lanes[i]->out = same;
    } else {
      *(int64_t *)lanes[i]->out = total;
    }
  }
}

void warp(int op, unsigned mask, int line, const void *in, void *out) {
  const int start = current->thread / 32 * 32, own = current->thread % 32;
  if (!(mask >> own & 1)) failed(WARP, current, nullptr, line, "its warp operation has a mask (%08x) without its own lane", mask);
  current->op = op, current->mask = mask, current->line = line, current->in = in, current->out = out;
  Warp *all = &inside->lanes[start / 32];
  const unsigned there = mask & all->alive;
  all->waiting |= 1u << own;
  if ((there & ~all->waiting) != 0) return pause_here(AT_WARP);
  Fiber *lanes[32] = {};
  bool together = true;
  for (int i = 0; i < 32; ++i) {
    if (!(there >> i & 1)) continue;
    Fiber *f = lanes[i] = thread_at(inside, start + i);
    if (f->op == op && f->mask == mask) continue;
    together = false;
    if (f->mask >> own & 1)
      failed(WARP, current, f, line, "it and another lane of its warp meet at different warp operations (the other in line %d)", f->line);
  }
  if (!together) return pause_here(AT_WARP);
  if (op >= US_MMA_BF16 && there != ~0u) failed(WARP, current, nullptr, line, "its warp has lanes that take no part in a matrix product");
  exchange(op, there, lanes);
  if (launch.races) races::met(lanes, there);
  all->waiting &= ~there;
  for (int i = 0; i < 32; ++i)
    if (lanes[i]) lanes[i]->state = READY;
  progress = true;
  if (launch.order != FORWARD) pause_here(READY);
}

