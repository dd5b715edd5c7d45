// Tensor cores, half precision and asynchronous copies on a GPU (sm_80 and later) as functions; on_cpu.h has the same for the processor. Sections as in base.h.
//
// us_mma_m16n8kK: d (16 x 8, float) += a (16 x K) b (K x 8). A warp holds the matrices together, lane l the elements (PTX manual, mma.m16n8k16
// and mma.m16n8k8), with g = l / 4 and t = l % 4:
//   d[0], d[1]: row g, columns 2t and 2t + 1; d[2], d[3]: row g + 8
//   16 bits (K = 16), two in a register, the first in its low half: a[0]: row g, columns 2t, 2t + 1; a[1]: row g + 8; a[2]: row g, columns 2t + 8, 2t + 9;
//     a[3]: row g + 8 and these; b[0]: rows 2t, 2t + 1 of column g; b[1]: rows 2t + 8, 2t + 9
//   tf32 (K = 8): a[0]: row g, column t; a[1]: row g + 8; a[2]: row g, column t + 4; a[3]: both; b[0]: row t, column g; b[1]: row t + 4

//= us_mma_m16n8k16_bf16
__device__ __forceinline__ void us_mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
//= us_mma_m16n8k16_f16
__device__ __forceinline__ void us_mma_m16n8k16_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
//= us_mma_m16n8k8_tf32
__device__ __forceinline__ void us_mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
//= us_tf32
__device__ __forceinline__ unsigned us_tf32(float x) {  // rounded to 10 bits behind the point, ties away from zero
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}
//= us_bf16_bits
__device__ __forceinline__ unsigned us_bf16_bits(float x) {
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
//= us_f16_bits
__device__ __forceinline__ unsigned us_f16_bits(float x) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
}
//= us_bf16_value
__device__ __forceinline__ float us_bf16_value(unsigned bits) { return __uint_as_float(bits << 16); }
//= us_f16_value
__device__ __forceinline__ float us_f16_value(unsigned bits) {
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"((unsigned short)bits));
  return x;
}
//= us_pack_bf16
__device__ __forceinline__ unsigned us_pack_bf16(float low, float high) {
  unsigned bits;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}
//= us_pack_f16
__device__ __forceinline__ unsigned us_pack_f16(float low, float high) {
  unsigned bits;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(high), "f"(low));
  return bits;
}

//= us_copy_async
// 4, 8 or 16 bytes from global into shared memory, beside the thread; both addresses are multiples of `bytes`, which is a constant.
__device__ __forceinline__ void us_copy_async(void *to, const void *from, int bytes) {
  const unsigned at = (unsigned)__cvta_generic_to_shared(to);
  if (bytes == 16) asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
  else if (bytes == 8) asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(at), "l"(from) : "memory");
  else asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(at), "l"(from) : "memory");
}
//= us_copy_commit
__device__ __forceinline__ void us_copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
//= us_copy_wait
// Wait until all but the latest `groups` (a constant) groups that were committed are there, for this thread.
template <int GROUPS> __device__ __forceinline__ void us_copy_wait_for() { asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory"); }
#define us_copy_wait(groups) us_copy_wait_for<groups>()
