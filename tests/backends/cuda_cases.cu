// One kernel, many cases: sound ones, and others with one fault planted. Blocks of 64 threads; x and y have 64 floats for each block, counters 8
// numbers, bytes 64 for each block. 64 * 8 bytes of dynamic shared memory.

#define LANE (threadIdx.x % 32)
#define WARP (threadIdx.x / 32)

struct us_case {
  US_POINTER(float) x;
  US_POINTER(float) y;
  US_POINTER(unsigned) counters;
  US_POINTER(int8_t) bytes;
  US_SHARED(float) s;
  int t, b, i, n;  // thread, block, number in the grid, threads in the grid
};

__device__ void us_meet(US_POINTER(unsigned) counter, unsigned count, bool first_fence, bool second_fence) {  // all blocks
  __syncthreads();
  if (threadIdx.x == 0) {
    if (first_fence) __threadfence();
    atomicAdd(counter, 1u);
    while (atomicAdd(counter, 0u) < count) __nanosleep(100);
    if (second_fence) __threadfence();
  }
  __syncthreads();
}

__device__ float warp_sum(float v) {
  for (int by = 16; by; by >>= 1) v += __shfl_xor_sync(~0u, v, by);
  return v;
}

__device__ float first(float2 v) { return v.x; }

__device__ float recursive(const us_case &c, int depth) {
  volatile float room[4096];
  room[depth % 4096] = c.t + depth;
  return depth < 0 ? 0 : recursive(c, depth + 1) + room[depth % 4096];
}

__device__ void us_sound(const us_case &c, int which) {
  const int next = (c.t + 1) % 64;
  if (which == 0) {  // a barrier between writing and reading, another before writing again
    for (int k = 0; k < 3; ++k) {
      c.s[c.t] = c.x[c.i] + k;
      __syncthreads();
      c.y[c.i] = c.s[next];
      __syncthreads();
    }
  } else if (which == 1) {  // sums in warps, then over warps
    float v = warp_sum(c.x[c.i]);
    if (LANE == 0) c.s[WARP] = v;
    __syncthreads();
    c.y[c.i] = c.s[0] + c.s[1];
  } else if (which == 2) {  // lanes of a warp need no more than __syncwarp
    c.s[c.t] = c.x[c.i];
    __syncwarp();
    c.y[c.i] = c.s[c.t ^ 1];
  } else if (which == 3) {  // half a warp by itself
    const unsigned half = LANE < 16 ? 0xffffu : 0xffff0000u;
    c.s[c.t] = c.x[c.i];
    if (LANE < 16) __syncwarp(half);
    else __syncwarp(half);
    c.y[c.i] = c.s[c.t ^ 15] + __shfl_xor_sync(half, 1.0f, 8);
  } else if (which == 4) {  // atomics, then a barrier, then all read
    if (c.t == 0) c.s[0] = 0;
    __syncthreads();
    atomicAdd(&c.s[0], c.x[c.i]);
    __syncthreads();
    c.y[c.i] = c.s[0];
  } else if (which == 5) {  // blocks that meet, twice
    c.x[c.i] = c.i;
    us_meet(c.counters, gridDim.x, true, true);
    c.y[c.i] = c.x[(c.i + 64) % c.n];
    us_meet(c.counters, 2 * gridDim.x, true, true);
    c.x[c.i] = 7;
  } else if (which == 6) {  // the last block to come adds up what the others have left
    float v = warp_sum(c.x[c.i]);
    US_SHARED_ARRAY(unsigned, last, 1);
    if (LANE == 0) c.s[WARP] = v;
    __syncthreads();
    if (c.t == 0) {
      c.y[c.b] = c.s[0] + c.s[1];
      __threadfence();
      last[0] = atomicAdd(c.counters, 1u);
      __threadfence();
    }
    __syncthreads();
    if (last[0] == gridDim.x - 1 && c.t < 1) {
      float sum = 0;
      for (int b = 0; b < (int)gridDim.x; ++b) sum += c.y[b];
      c.y[0] = sum;
    }
  } else if (which == 7) {  // neighbours in one word, and vectors
    c.bytes[c.i] = (int8_t)c.t;
    if (c.t < 16) us_as<float4>(c.y + 64 * c.b)[c.t] = make_float4(c.t, 1, 2, 3);
    __syncthreads();
    c.x[c.i] = c.y[c.i] + c.bytes[64 * c.b + next];
  } else if (which == 8) {  // two buffers, one barrier each time
    c.s[c.t] = c.x[c.i];
    __syncthreads();
    for (int k = 0; k < 4; ++k) {
      c.s[64 * ((k + 1) % 2) + c.t] = c.s[64 * (k % 2) + next];
      __syncthreads();
    }
    c.y[c.i] = c.s[c.t];
  } else if (which == 9) {  // copies beside the thread, the second under way while the first is used
    us_copy_async(c.s + c.t, c.x + c.i, 4);
    us_copy_commit();
    us_copy_async(c.s + 64 + c.t, c.x + c.i, 4);
    us_copy_commit();
    us_copy_wait(1);
    __syncthreads();
    float v = c.s[next];
    us_copy_wait(0);
    __syncthreads();
    c.y[c.i] = v + c.s[64 + next];
  } else if (which == 10) {  // threads without work return, nobody waits for them
    if (c.t >= 40) return;
    c.y[c.i] = c.x[c.i] * 2;
    if (WARP == 0) c.y[c.i] = warp_sum(c.y[c.i]);
  } else if (which == 11) {  // one thread hands over to a thread of another block
    if (c.t == 0 && c.b == 0) {
      c.x[0] = 5;
      __threadfence();
      atomicExch(c.counters, 1u);
    } else if (c.t == 0) {
      while (atomicAdd(c.counters, 0u) == 0) __nanosleep(20);
      __threadfence();
      c.y[c.b] = c.x[0];
    }
  } else if (which == 12) {  // static shared memory is each block's own
    __shared__ float own[64];
    own[c.t] = c.b;
    us_meet(c.counters, gridDim.x, true, true);
    c.y[c.i] = own[next];
  } else if (which == 13) {  // votes and counts
    const int votes = __popc(__ballot_sync(~0u, c.t % 3 == 0)), all = __syncthreads_count(c.t % 2);
    c.y[c.i] = votes + 100 * all + 10000 * __syncthreads_or(c.t == 63) + 20000 * __syncthreads_and(c.t < 63) + __reduce_max_sync(~0u, c.t);
  } else if (which == 14) {  // parts of a warp, each for itself and some longer than others, then all of it
    const unsigned part = 0xffu << LANE / 8 * 8;
    float v = c.x[c.i];
    for (int k = 0; k <= (int)LANE / 8; ++k) v = __shfl_xor_sync(part, v, 1);
    c.y[c.i] = __shfl_sync(~0u, v, 9);
  }
}

__device__ void us_racy(const us_case &c, int which) {
  const int next = (c.t + 1) % 64;
  if (which == 0) {  // no barrier after writing
    c.s[c.t] = c.x[c.i];
    c.y[c.i] = c.s[next];
  } else if (which == 1) {  // no barrier before writing again
    for (int k = 0; k < 3; ++k) {
      c.s[c.t] = c.x[c.i] + k;
      __syncthreads();
      c.y[c.i] += c.s[next];
    }
  } else if (which == 2) {  // two threads write one element
    c.y[64 * c.b + c.t / 2] = 1;
  } else if (which == 3) {  // all add to one element
    c.s[c.t] = 0;
    __syncthreads();
    c.s[0] += 1;
  } else if (which == 4) {  // lanes of a warp without __syncwarp
    c.s[c.t] = c.x[c.i];
    c.y[c.i] = c.s[c.t ^ 1];
  } else if (which == 5) {  // __syncwarp where the other thread is of another warp
    c.s[c.t] = c.x[c.i];
    __syncwarp();
    c.y[c.i] = c.s[c.t ^ 32];
  } else if (which == 6) {  // one half of a warp reads what the other one writes
    const unsigned half = LANE < 16 ? 0xffffu : 0xffff0000u;
    c.s[c.t] = c.x[c.i];
    if (LANE < 16) __syncwarp(half);
    else __syncwarp(half);
    c.y[c.i] = c.s[c.t ^ 16];
  } else if (which == 7) {  // an atomic of one thread, an ordinary read of another
    if (c.t == 0) c.s[0] = 0;
    __syncthreads();
    atomicAdd(&c.s[0], 1.0f);
    c.y[c.i] = c.s[0];
  } else if (which == 8) {  // blocks write one element
    if (c.t == 0) c.y[0] = c.b;
  } else if (which == 9) {  // a block reads what another one has written, without meeting
    c.x[c.i] = c.i;
    __syncthreads();
    c.y[c.i] = c.x[(c.i + 64) % c.n];
  } else if (which == 10 || which == 11) {  // blocks meet without the one or the other fence
    c.x[c.i] = c.i;
    us_meet(c.counters, gridDim.x, which == 11, which == 10);
    c.y[c.i] = c.x[(c.i + 64) % c.n];
  } else if (which == 12) {  // blocks meet once, and then write what others may still read
    c.x[c.i] = c.i;
    us_meet(c.counters, gridDim.x, true, true);
    c.y[c.i] = c.x[(c.i + 64) % c.n];
    c.x[c.i] = 7;
  } else if (which == 13) {  // copies are there for the thread that waits, not for others
    us_copy_async(c.s + c.t, c.x + c.i, 4);
    us_copy_commit();
    us_copy_wait(0);
    c.y[c.i] = c.s[next];
  } else if (which == 14) {  // a barrier does not wait for copies
    us_copy_async(c.s + c.t, c.x + c.i, 4);
    us_copy_commit();
    __syncthreads();
    c.y[c.i] = c.s[next];
    us_copy_wait(0);
  } else if (which == 15) {  // many read, one writes
    c.s[c.t] = 1;
    __syncthreads();
    c.y[c.i] = c.s[0];
    if (c.t == 40) c.s[0] = 2;
  } else if (which == 16) {  // bytes of one float
    us_as<int8_t>(c.y)[c.i / 8] = 1;
    if (c.t == 63) c.y[0] = 1;
  }
}

__device__ void us_wrong(const us_case &c, int which) {
  if (which == 0) {
    if (c.t < 40) __syncthreads();  // not all
  } else if (which == 1) {
    if (c.t < 32) __syncthreads();
    else __syncthreads();  // another one
  } else if (which == 2) {
    if (c.t == 3) return;
    __syncthreads();
  } else if (which == 3) {
    if (c.t == 5) while (atomicAdd(c.counters, 0u) == 0) __nanosleep(20);  // nobody changes it
    __syncthreads();
  } else if (which == 4) {
    if (LANE < 8) __syncwarp();  // the others wait at a barrier
    __syncthreads();
  } else if (which == 5) {
    c.y[c.i] = LANE < 8 ? __shfl_sync(~0u, 1, 0) : (int)__ballot_sync(~0u, 1);
  } else if (which == 6) {
    c.y[c.i] = __shfl_sync(0xffu, 1, 0);  // without its own lane
  } else if (which == 7) {
    c.s[128 + c.t] = 1;  // behind the shared memory
  } else if (which == 8) {
    us_copy_async(c.s + c.t, c.x + c.i, 4);  // never waits
  } else if (which == 9) {
    us_copy_async(c.s + 4 * c.t + 1, c.x + c.i, 16);  // not a multiple of 16
  } else if (which == 10) {
    c.y[c.i] = recursive(c, 0);
  } else if (which == 11) {
    c.y[c.i] = 7 / (c.t - 9);
  } else if (which == 12) {
    *(volatile int *)(8 * c.t) = 1;  // nobody's memory
  } else if (which == 13) {
    c.y[c.i + 64 * gridDim.x] = 1;  // behind the array
  } else if (which == 14) {
    c.y[c.i] = first(us_as<float2>(c.x + 1)[0]);  // not a multiple of 8
  } else if (which == 15) {
    c.x[c.i] = 2;
    c.y[c.i] = __ldg(c.x + c.i);  // by a cache that may be out of date
  } else if (which == 16) {
    if (c.t == 0) c.s[0] = 1;
    __syncthreads();
    c.y[c.i] = c.s[c.t];  // of the others, nobody has written any
  }
}

extern "C" __global__ void cases(US_POINTER(float) x, US_POINTER(float) y, US_POINTER(unsigned) counters, US_POINTER(int8_t) bytes, int64_t which) {
  const us_case c = {x, y, counters, bytes, (US_SHARED(float))US_DYNAMIC_SHARED, (int)threadIdx.x, (int)blockIdx.x,
                     (int)(64 * blockIdx.x + threadIdx.x), (int)(64 * gridDim.x)};
  if (which < 100) us_sound(c, (int)which);
  else if (which < 200) us_racy(c, (int)which - 100);
  else us_wrong(c, (int)which - 200);
}
