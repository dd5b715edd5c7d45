// Switching from the stack of one fiber to that of another, by a few instructions: part of fibers.cpp.

void begin();  // where a fiber starts
constexpr size_t STACK = 640 << 10, GUARD = 128 << 10;  // of these, the lower ones cannot be touched

#if defined(__x86_64__) || defined(__aarch64__)
extern "C" void us_switch(void **save, void *load) __asm__("us_switch");
#if defined(__x86_64__)
__asm__(R"(
.text
.p2align 4
.globl us_switch
us_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
void *prepared(char *top) {  // six registers, where to go, and a place for nobody's return address
  void **at = (void **)top - 8;
  for (int i = 0; i < 8; ++i) at[i] = nullptr;
  at[6] = (void *)begin;
  return at;
}
#else
__asm__(R"(
.text
.p2align 4
.globl us_switch
us_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
void *prepared(char *top) {
  void **at = (void **)(top - 160);
  for (int i = 0; i < 20; ++i) at[i] = nullptr;
  at[11] = (void *)begin;  // the link register
  return at;
}
#endif
#else
#include <ucontext.h>
void us_switch(void **save, void *load) {
  ucontext_t here;
  *save = &here;
  swapcontext(&here, (ucontext_t *)load);
}
void *prepared(char *top) {  // the context lies at the top of its stack
  ucontext_t *at = (ucontext_t *)((uintptr_t)(top - sizeof(ucontext_t)) / 64 * 64);
  getcontext(at);
  at->uc_stack.ss_sp = top - STACK + 2 * GUARD;
  at->uc_stack.ss_size = (char *)at - (char *)at->uc_stack.ss_sp;
  at->uc_link = nullptr;
  makecontext(at, begin, 0);
  return at;
}
#endif

