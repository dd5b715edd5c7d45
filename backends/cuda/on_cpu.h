// What CUDA C++ finds when it is compiled for the processor: built-in variables, barriers, warp operations, atomics, and pointers that a race
// detector watches (with US_RACES). Included before the text of a kernel; the work is done by the runtime (fibers.cpp), which hands over a
// us_machine. No other header is included, so that compiling takes as little time as it can.
#pragma once

typedef __INT8_TYPE__ int8_t;
typedef __UINT8_TYPE__ uint8_t;
typedef __INT16_TYPE__ int16_t;
typedef __UINT16_TYPE__ uint16_t;
typedef __INT32_TYPE__ int32_t;
typedef __UINT32_TYPE__ uint32_t;
typedef __INT64_TYPE__ int64_t;
typedef __UINT64_TYPE__ uint64_t;
typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;
typedef __UINTPTR_TYPE__ uintptr_t;

struct uint3 { unsigned x, y, z; };
typedef uint3 dim3;

// -- the interface of the runtime, the same text on both sides -------------------------------------------------------------------------

enum us_access { US_READ = 0, US_WRITE = 1, US_ATOMIC = 2, US_CACHED_READ = 3, US_KINDS = 3, US_IN_SHARED = 4, US_ALIGNMENT = 8 };
enum us_warp_op { US_SYNCWARP, US_SHUFFLE, US_BALLOT, US_MATCH, US_ADD, US_MIN, US_MAX, US_AND, US_OR, US_XOR, US_MMA_BF16, US_MMA_F16, US_MMA_TF32 };
enum us_block_op { US_SYNC, US_SYNC_COUNT, US_SYNC_AND, US_SYNC_OR };

struct us_shuffled { uint64_t value; int lane; };              // what US_SHUFFLE takes: a value, and the lane whose value is wanted
struct us_fragments { uint32_t a[4], b[2]; float c[4]; };      // what US_MMA_* takes; it gives float[4]

struct us_machine {
  uint3 thread, block, block_dim, grid_dim;  // of the thread that runs
  char *dynamic;                             // the shared memory of its block
  int changed;                               // set by whatever another thread may be waiting for
  int (*barrier)(int op, int value, int line);
  void (*warp)(int op, unsigned mask, int line, const void *in, void *out);
  unsigned (*active)();
  void (*fence)();
  void (*sleep)();
  void (*touch)(const void *address, int bytes, int how);
  void (*copy)(void *to, const void *from, int bytes, int line);
  void (*commit)();
  void (*wait)(int groups);
  void (*fail)(const char *why, int line);
};

struct us_text {  // what a compiled text tells of itself
  void (*kernel)(us_machine *, void **parameters);
  char *statics, *statics_end;  // its static shared memory
  char *code;                   // an address in its code
};

// -- the words of the language ---------------------------------------------------------------------------------------------------------

#ifndef US_RUNTIME
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define __shared__ __attribute__((section("us_shared"))) static
#define __nanosleep(ns) us_at->sleep()
#define threadIdx (us_at->thread)
#define blockIdx (us_at->block)
#define blockDim (us_at->block_dim)
#define gridDim (us_at->grid_dim)
#define warpSize 32
#define US_FUNCTION static inline
#define US_INLINE static inline __attribute__((always_inline))
#define US_LINE int line = __builtin_LINE()
#define US_DYNAMIC_SHARED (us_at->dynamic)

static us_machine *us_at;

struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) longlong2 { long long x, y; };
US_INLINE float2 make_float2(float x, float y) { return {x, y}; }
US_INLINE float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
US_INLINE double2 make_double2(double x, double y) { return {x, y}; }
US_INLINE int2 make_int2(int x, int y) { return {x, y}; }
US_INLINE int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
US_INLINE uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
US_INLINE uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
US_INLINE longlong2 make_longlong2(long long x, long long y) { return {x, y}; }

template <class A, class B> US_INLINE A us_bits(B b) {
  static_assert(sizeof(A) == sizeof(B), "types of one size");
  A a;
  __builtin_memcpy(&a, &b, sizeof a);
  return a;
}
template <class T> struct us_same { typedef T type; };
template <class T> struct us_same<const T> { typedef T type; };

#include "pointers_on_cpu.h"
#include "math_on_cpu.h"

// -- barriers and warps ----------------------------------------------------------------------------------------------------------------

US_INLINE void __syncthreads(US_LINE) { us_at->barrier(US_SYNC, 0, line); }
US_INLINE int __syncthreads_count(int value, US_LINE) { return us_at->barrier(US_SYNC_COUNT, value, line); }
US_INLINE int __syncthreads_and(int value, US_LINE) { return us_at->barrier(US_SYNC_AND, value, line); }
US_INLINE int __syncthreads_or(int value, US_LINE) { return us_at->barrier(US_SYNC_OR, value, line); }
US_INLINE void __syncwarp(unsigned mask = ~0u, US_LINE) { us_at->warp(US_SYNCWARP, mask, line, nullptr, nullptr); }
US_INLINE void __threadfence() { us_at->fence(); }
US_INLINE void __threadfence_block() { us_at->fence(); }
US_INLINE void __threadfence_system() { us_at->fence(); }
US_INLINE unsigned __activemask() { return us_at->active(); }

template <class T> US_INLINE T us_from_lane(unsigned mask, T value, int lane, int line) {
  static_assert(sizeof(T) <= 8, "a shuffle moves 8 bytes at most");
  us_shuffled in = {0, lane};
  uint64_t out;
  __builtin_memcpy(&in.value, &value, sizeof value);
  us_at->warp(US_SHUFFLE, mask, line, &in, &out);
  __builtin_memcpy(&value, &out, sizeof value);
  return value;
}
US_INLINE int us_lane() { return (int)(us_at->thread.x & 31); }
#define US_SHUFFLES(T) \
  US_INLINE T __shfl_sync(unsigned mask, T value, int from, int width = 32, US_LINE) { \
    return us_from_lane(mask, value, (us_lane() & -width) | (from & (width - 1)), line); \
  } \
  US_INLINE T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, US_LINE) { \
    int lane = us_lane(); \
    return us_from_lane(mask, value, (lane & (width - 1)) < (int)by ? lane : lane - (int)by, line); \
  } \
  US_INLINE T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, US_LINE) { \
    int lane = us_lane(); \
    return us_from_lane(mask, value, (lane & (width - 1)) + (int)by >= width ? lane : lane + (int)by, line); \
  } \
  US_INLINE T __shfl_xor_sync(unsigned mask, T value, int by, int width = 32, US_LINE) { \
    int lane = us_lane(), from = lane ^ by; \
    return us_from_lane(mask, value, from >= (lane & -width) + width ? lane : from, line); \
  }
US_SHUFFLES(int)
US_SHUFFLES(unsigned)
US_SHUFFLES(long)
US_SHUFFLES(unsigned long)
US_SHUFFLES(long long)
US_SHUFFLES(unsigned long long)
US_SHUFFLES(float)
US_SHUFFLES(double)

US_INLINE unsigned __ballot_sync(unsigned mask, int value, US_LINE) {
  unsigned in = value != 0, out;
  us_at->warp(US_BALLOT, mask, line, &in, &out);
  return out;
}
US_INLINE int __any_sync(unsigned mask, int value, US_LINE) { return __ballot_sync(mask, value, line) != 0; }
US_INLINE int __all_sync(unsigned mask, int value, US_LINE) { return __ballot_sync(mask, value == 0, line) == 0; }
template <class T> US_INLINE unsigned __match_any_sync(unsigned mask, T value, US_LINE) {
  uint64_t in = 0;
  unsigned out;
  __builtin_memcpy(&in, &value, sizeof value);
  us_at->warp(US_MATCH, mask, line, &in, &out);
  return out;
}
#define US_WARP_SUM(NAME, OP) \
  US_INLINE unsigned NAME(unsigned mask, unsigned value, US_LINE) { \
    int64_t in = value, out; \
    us_at->warp(OP, mask, line, &in, &out); \
    return (unsigned)out; \
  } \
  US_INLINE int NAME(unsigned mask, int value, US_LINE) { \
    int64_t in = value, out; \
    us_at->warp(OP, mask, line, &in, &out); \
    return (int)out; \
  }
US_WARP_SUM(__reduce_add_sync, US_ADD)
US_WARP_SUM(__reduce_min_sync, US_MIN)
US_WARP_SUM(__reduce_max_sync, US_MAX)
US_WARP_SUM(__reduce_and_sync, US_AND)
US_WARP_SUM(__reduce_or_sync, US_OR)
US_WARP_SUM(__reduce_xor_sync, US_XOR)

// -- atomics: one thread runs at a time, so that each is an ordinary operation; what they order is the race detector's affair ------------

#define US_ATOMIC_FUNCTION(NAME, NEW) \
  template <class P, class T = typename us_pointee<P>::type> US_INLINE T NAME(P pointer, typename us_same<T>::type value) { \
    T *address = us_atomic_address(pointer); \
    T old = *address; \
    *address = (T)(NEW); \
    us_at->changed |= !(*address == old); \
    return old; \
  }
US_ATOMIC_FUNCTION(atomicAdd, old + value)
US_ATOMIC_FUNCTION(atomicSub, old - value)
US_ATOMIC_FUNCTION(atomicMin, value < old ? value : old)
US_ATOMIC_FUNCTION(atomicMax, value > old ? value : old)
US_ATOMIC_FUNCTION(atomicAnd, old & value)
US_ATOMIC_FUNCTION(atomicOr, old | value)
US_ATOMIC_FUNCTION(atomicXor, old ^ value)
US_ATOMIC_FUNCTION(atomicExch, value)
US_ATOMIC_FUNCTION(atomicInc, old >= value ? 0 : old + 1)
US_ATOMIC_FUNCTION(atomicDec, old == 0 || old > value ? value : old - 1)
template <class P, class T = typename us_pointee<P>::type>
US_INLINE T atomicCAS(P pointer, typename us_same<T>::type expected, typename us_same<T>::type value) {
  T *address = us_atomic_address(pointer);
  T old = *address;
  if (old == expected) *address = value;
  us_at->changed |= !(*address == old);
  return old;
}

// -- copies that go on beside the thread: the destination is no number until the thread that asked has waited -----------------------------

template <class D, class S> US_INLINE void us_copy_async(D to, S from, int bytes, US_LINE) {
  us_at->copy((void *)us_raw(to), (const void *)us_raw(from), bytes, line);
}
US_INLINE void us_copy_commit() { us_at->commit(); }
US_INLINE void us_copy_wait(int groups) { us_at->wait(groups); }

// -- tensor cores: products of fragments that the lanes of a warp hold together -------------------------------------------------------------

#define US_MMA(NAME, OP) \
  US_INLINE void NAME(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], US_LINE) { \
    us_fragments in = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}, {d[0], d[1], d[2], d[3]}}; \
    us_at->warp(OP, ~0u, line, &in, &d); \
  }
US_MMA(us_mma_m16n8k16_bf16, US_MMA_BF16)
US_MMA(us_mma_m16n8k16_f16, US_MMA_F16)
US_MMA(us_mma_m16n8k8_tf32, US_MMA_TF32)
US_INLINE unsigned us_tf32(float x) {  // rounded to 10 bits behind the point, ties away from zero
  unsigned bits = us_bits<unsigned>(x);
  return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;
}
US_INLINE unsigned us_pack_bf16(float low, float high) { return us_bf16_bits(low) | us_bf16_bits(high) << 16; }
US_INLINE unsigned us_pack_f16(float low, float high) { return us_f16_bits(low) | us_f16_bits(high) << 16; }

// -- what the runtime calls ----------------------------------------------------------------------------------------------------------------

template <class T> T &us_parameter(void *at) { return *(T *)at; }
template <int... I> struct us_numbers {};
template <int N, int... I> struct us_count : us_count<N - 1, N - 1, I...> {};
template <int... I> struct us_count<0, I...> { typedef us_numbers<I...> type; };
template <class... A, int... I> inline void us_call_with(void (*kernel)(A...), void **parameters, us_numbers<I...>) {
  kernel(us_parameter<typename us_same<A>::type>(parameters[I])...);
}
template <class... A> inline void us_call_kernel(void (*kernel)(A...), void **parameters) {
  us_call_with(kernel, parameters, typename us_count<sizeof...(A)>::type());
}
extern "C" {
extern char __start_us_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_us_shared[] __attribute__((weak, visibility("hidden")));
}
#define US_KERNEL(NAME) \
  static void us_run(us_machine *machine, void **parameters) { \
    us_at = machine; \
    us_call_kernel(NAME, parameters); \
  } \
  extern "C" void us_describe(us_text *text) { *text = {us_run, __start_us_shared, __stop_us_shared, (char *)&us_run}; }
#endif
