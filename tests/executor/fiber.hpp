// Fibers: many small stacks on one host thread, and the switch between them.
//
// The switch is a dozen instructions on x86-64 and swapcontext elsewhere (or with POLYMOE_EXECUTOR_UCONTEXT).  Stacks
// come from a pool and are small; a canary at their low end tells when one was too small.  AddressSanitizer is told of
// every switch.  ThreadSanitizer builds do without fibers: see `available`.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include <polymoe/core/error.hpp>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POLYMOE_EXECUTOR_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define POLYMOE_EXECUTOR_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define POLYMOE_EXECUTOR_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define POLYMOE_EXECUTOR_TSAN 1
#endif

#if defined(POLYMOE_EXECUTOR_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__) && !defined(POLYMOE_EXECUTOR_UCONTEXT)
#define POLYMOE_EXECUTOR_UCONTEXT 1
#endif
#if defined(POLYMOE_EXECUTOR_UCONTEXT)
#include <ucontext.h>
#endif

namespace polymoe::executor {

#if defined(POLYMOE_EXECUTOR_TSAN)
inline constexpr bool available = false;
#else
inline constexpr bool available = true;
#endif
/// What every launch throws, and what a test should print, where `available` is false.
inline constexpr const char* unavailable_reason =
    "the host executor is left out of ThreadSanitizer builds: its fibers share one thread and cannot race";

#if defined(POLYMOE_EXECUTOR_ASAN)
inline constexpr std::size_t default_stack_bytes = 256 * 1024;  // red zones make frames several times larger
/// AddressSanitizer stops the program at an access to a guard, where other builds throw executor::failure afterwards.
inline constexpr bool guards_stop_program = true;
#else
inline constexpr std::size_t default_stack_bytes = 64 * 1024;
inline constexpr bool guards_stop_program = false;
#endif

namespace detail {

/// One stack of a slab, with the canary below which nothing may have been written.
struct stack {
  static constexpr std::size_t canary_bytes = 256;
  std::byte* low = nullptr;
  std::size_t bytes = 0;

#if defined(POLYMOE_EXECUTOR_ASAN)
  // AddressSanitizer stops at the first access to the canary and shows where it came from.
  void arm() const {
    __asan_unpoison_memory_region(low, bytes);  // an abandoned fiber leaves its red zones behind
    __asan_poison_memory_region(low, canary_bytes);
  }
  bool intact() const { return true; }
#else
  void arm() const { std::memset(low, 0xC3, canary_bytes); }
  /// False when the stack grew into its canary; the neighbouring stack may then be damaged too.
  bool intact() const {
    std::uint64_t words[canary_bytes / 8];
    std::memcpy(words, low, canary_bytes);
    std::uint64_t differ = 0;
    for (std::uint64_t w : words) differ |= w ^ 0xC3C3C3C3C3C3C3C3u;
    return differ == 0;
  }
#endif
};

/// Memory for stacks, mapped in slabs, touched only where used, kept until the thread ends.
class stack_pool {
 public:
  stack_pool() = default;
  stack_pool(const stack_pool&) = delete;
  stack_pool& operator=(const stack_pool&) = delete;
  ~stack_pool() { release(); }

  /// The i-th stack of `bytes` each.  Another size drops all stacks first.
  stack at(std::size_t i, std::size_t bytes) {
    if (bytes != bytes_) {
      release();
      bytes_ = bytes;
    }
    while (i / per_slab >= slabs_.size()) {
      void* p = mmap(nullptr, per_slab * bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                     -1, 0);
      require(p != MAP_FAILED, "executor: no memory for ", per_slab, " more stacks of ", bytes_, " bytes, have ",
              slabs_.size() * per_slab);
      slabs_.push_back(static_cast<std::byte*>(p));
    }
    return {slabs_[i / per_slab] + i % per_slab * bytes_, bytes_};
  }

 private:
  static constexpr std::size_t per_slab = 256;
  std::vector<std::byte*> slabs_;
  std::size_t bytes_ = 0;

  void release() {
    for (std::byte* p : slabs_) {
#if defined(POLYMOE_EXECUTOR_ASAN)
      __asan_unpoison_memory_region(p, per_slab * bytes_);
#endif
      munmap(p, per_slab * bytes_);
    }
    slabs_.clear();
  }
};

#if !defined(POLYMOE_EXECUTOR_UCONTEXT)
/// Saves the callee-saved registers and control words on this stack, its pointer in *from; goes on at `to`.
__attribute__((naked, noinline, no_sanitize("address"), no_sanitize("undefined"))) inline void switch_stack(
    void** /*from*/, void* /*to*/) {
  __asm__(
      "pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
      "subq $8, %rsp\n\tstmxcsr (%rsp)\n\tfnstcw 4(%rsp)\n\t"
      "movq %rsp, (%rdi)\n\tmovq %rsi, %rsp\n\t"
      "ldmxcsr (%rsp)\n\tfldcw 4(%rsp)\n\taddq $8, %rsp\n\t"
      "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\tret");
}
#endif

/// A suspended computation: the scheduler's own, or a fiber that runs `body` from the top of a stack.
class coroutine {
 public:
  /// Prepares to run `body` (which must end in leave()) on `s` at the next enter().
  void prepare(const stack& s, void (*body)()) {
    stack_ = s;
    s.arm();
#if defined(POLYMOE_EXECUTOR_UCONTEXT)
    getcontext(&context_);
    context_.uc_stack.ss_sp = s.low;
    context_.uc_stack.ss_size = s.bytes;
    context_.uc_link = nullptr;
    makecontext(&context_, body, 0);
#else
    // What switch_stack pops: control words, six registers, the entry.  Then the stack pointer is at `bottom`, a return
    // address of zero 8 bytes below a multiple of 16: what a function expects at its entry.
    struct frame {
      std::uint32_t mxcsr;
      std::uint16_t x87, unused;
      void* registers[6];
      void (*entry)();
      void* bottom;
    };
    static_assert(sizeof(frame) == 72, "polymoe: the first frame of a fiber has to match switch_stack");
    frame f{};
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(f.mxcsr), "=m"(f.x87));
    f.entry = body;
    pointer_ = s.low + s.bytes - sizeof(frame);
    std::memcpy(pointer_, &f, sizeof(frame));
#endif
  }

  /// Called by the scheduler: runs `to` until it calls back().
  void enter(coroutine& to) {
#if defined(POLYMOE_EXECUTOR_ASAN)
    __sanitizer_start_switch_fiber(&fake_, to.stack_.low, to.stack_.bytes);
#endif
    go(to);
#if defined(POLYMOE_EXECUTOR_ASAN)
    __sanitizer_finish_switch_fiber(fake_, nullptr, nullptr);
#endif
  }
  /// Called on a fiber: gives control back to the scheduler until entered again.  `last`: never again.
  void back(coroutine& scheduler, bool last) {
#if defined(POLYMOE_EXECUTOR_ASAN)
    __sanitizer_start_switch_fiber(last ? nullptr : &fake_, scheduler.stack_.low, scheduler.stack_.bytes);
#else
    static_cast<void>(last);
#endif
    go(scheduler);
    arrived(scheduler);
  }
  /// Called on a fiber each time it gets control; learns where the scheduler's stack lies.
  void arrived([[maybe_unused]] coroutine& scheduler) {
#if defined(POLYMOE_EXECUTOR_ASAN)
    const void* low = nullptr;
    std::size_t bytes = 0;
    __sanitizer_finish_switch_fiber(fake_, &low, &bytes);
    scheduler.stack_ = {static_cast<std::byte*>(const_cast<void*>(low)), bytes};
#endif
  }
  bool intact() const { return stack_.intact(); }

 private:
  stack stack_{};
#if defined(POLYMOE_EXECUTOR_ASAN)
  void* fake_ = nullptr;
#endif
#if defined(POLYMOE_EXECUTOR_UCONTEXT)
  ucontext_t context_{};
  void go(coroutine& to) { swapcontext(&context_, &to.context_); }
#else
  void* pointer_ = nullptr;
  void go(coroutine& to) { switch_stack(&pointer_, to.pointer_); }
#endif
};

}  // namespace detail
}  // namespace polymoe::executor
