// The test-only host executor: CUDA kernels of this library run on the CPU, one fiber per CUDA thread.
//
// Include it before any .cuh header, in a program of its own: kernels compiled here have the names of those that nvcc
// compiles, so the two kinds of object file must not meet in one binary.
//
//   #include "../executor/host_executor.hpp"
//   #include <polymoe/backend/cuda/kernel/combine.cuh>
//
//   executor::scope with{{.seed = 7}};                          // optional: another order, until the end of the block
//   device::launch({.kernel = "combine", .grid = 12, .block = 128, .shared = bytes}, combine<float>, y, x, n);
//
// launch() returns when the grid is done, unless settings::deferred keeps it in its stream's queue (host_streams.hpp)
// or the stream is being recorded.  Shared memory starts as 0xFF bytes (NaN).  Misuse throws executor::failure, a
// standstill executor::deadlock, both polymoe::error; what a kernel throws itself arrives unchanged.  Objects on the
// stacks of threads that were still waiting are then abandoned, not destroyed.  Not modelled: weak memory order, inline
// PTX, reads outside shared memory (they see NaN), and races, of which only the effect in the chosen order shows: run a
// kernel under several seeds.
#pragma once

#if !defined(POLYMOE_HOST_EXECUTOR)
#define POLYMOE_HOST_EXECUTOR 1
#endif

#include <bit>
#include <tuple>

#include "host_streams.hpp"
#include "machine.hpp"

namespace polymoe::executor {

/// Settings for the launches of this thread until the end of the enclosing block.
class scope {
 public:
  explicit scope(const settings& s) : before_(detail::machine::of_this_thread().options) {
    detail::machine::of_this_thread().options = s;
  }
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;
  ~scope() { detail::machine::of_this_thread().options = before_; }

 private:
  settings before_;
};

/// How many kernels have run on this thread.
inline index launches() { return detail::machine::of_this_thread().launches; }
/// What the last launch of this thread did.
inline const statistics& last_launch() { return detail::machine::of_this_thread().last; }

namespace detail {
inline fiber& self(const char* what) {
  if (!current) throw failure(std::string("executor: ") + what + " is for kernels, and no kernel runs");
  return *current;
}

template <class T>
T exchange_warp(wait_for kind, T x, int source, int argument, int width, unsigned members, location where) {
  static_assert(std::is_trivially_copyable_v<T>, "polymoe: only trivially copyable values can be shuffled");
  static_assert(sizeof(T) <= fiber::payload, "polymoe: the host executor shuffles values of at most 64 bytes");
  fiber& f = self(name_of(kind));
  if (width < 1 || width > 32 || !std::has_single_bit(static_cast<unsigned>(width)))
    running->fail(name_of(kind), " at ", text_of(where), ": width ", width, " is no power of two up to 32");
  if (argument < 0 || argument > 31)
    running->fail(name_of(kind), " at ", text_of(where), ": argument ", argument, " is outside 0..31");
  running->wait_warp(kind, members, source, &x, sizeof(T), where);
  std::memcpy(&x, f.out, sizeof(T));
  return x;
}

template <class T, class F>
T atomic(T* p, F change, location where) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                "polymoe: atomics work on 4 or 8 bytes");
  self("an atomic");
  if (reinterpret_cast<std::uintptr_t>(p) % sizeof(T) != 0)
    running->fail("the atomic at ", text_of(where), " got an address that is not a multiple of ", sizeof(T));
  const T before = *p;
  *p = change(before);
  return before;
}
}  // namespace detail
}  // namespace polymoe::executor

// The wrappers of device.cuh, documented there.  Each takes its call site as a last, defaulted argument for reports.
namespace polymoe::inline v0::device {

namespace on_host = polymoe::executor::detail;
using on_host::location;

inline dim block_index() { return on_host::self("block_index").home->position; }
inline dim block_size() { return on_host::self("block_size"), on_host::running->shape.block; }
inline dim grid_size() { return on_host::self("grid_size"), on_host::running->shape.grid; }
inline int thread_rank() { return on_host::self("thread_rank").rank; }
inline index block_rank() { return on_host::self("block_rank").home->rank; }
inline int lane() { return thread_rank() % warp_size; }
inline int warp() { return thread_rank() / warp_size; }

inline void sync_block(location where = location::current()) {
  on_host::self("sync_block");
  on_host::running->wait_block(where);
}
inline void sync_warp(unsigned members = full_warp, location where = location::current()) {
  on_host::self("sync_warp");
  on_host::running->wait_warp(on_host::wait_for::sync_warp, members, 0, nullptr, 0, where);
}
inline void sync_grid(grid_barrier barrier, location where = location::current()) {
  on_host::self("sync_grid");
  on_host::running->wait_grid(barrier.words, where);
}
// One host thread runs every fiber, and a switch is an opaque call: memory is always in order.
inline void fence() {}
inline unsigned load_acquire(const unsigned* word) { return *word; }
inline void store_release(unsigned* word, unsigned value) { *word = value; }
inline void wait_until(const unsigned* word, unsigned value, location where = location::current()) {
  on_host::self("wait_until");
  on_host::running->wait_word(word, value, where);
}

template <class T>
T shuffle_xor(T x, int flip, int width = warp_size, unsigned members = full_warp,
              location where = location::current()) {
  const int l = lane(), other = l ^ flip;
  // A lane may read from an earlier segment, but not from a later one.
  return on_host::exchange_warp(on_host::wait_for::shuffle_xor, x, other / width <= l / width ? other : l, flip, width,
                                members, where);
}
template <class T>
T shuffle_up(T x, int delta, int width = warp_size, unsigned members = full_warp,
             location where = location::current()) {
  const int l = lane();
  return on_host::exchange_warp(on_host::wait_for::shuffle_up, x, l % width >= delta ? l - delta : l, delta, width,
                                members, where);
}
template <class T>
T shuffle_idx(T x, int source, int width = warp_size, unsigned members = full_warp,
              location where = location::current()) {
  return on_host::exchange_warp(on_host::wait_for::shuffle_idx, x, lane() / width * width + source % width, source,
                                width, members, where);
}

inline unsigned ballot(bool predicate, unsigned members = full_warp, location where = location::current()) {
  on_host::fiber& f = on_host::self("ballot");
  on_host::running->wait_warp(on_host::wait_for::ballot, members, predicate ? 1 : 0, nullptr, 0, where);
  unsigned votes = 0;
  std::memcpy(&votes, f.out, sizeof votes);
  return votes;
}
template <class T>
unsigned match(T x, unsigned members = full_warp, location where = location::current()) {
  static_assert(std::is_integral_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                "polymoe: match compares integers of 4 or 8 bytes");
  const auto wide = static_cast<std::uint64_t>(x);
  on_host::fiber& f = on_host::self("match");
  on_host::running->wait_warp(on_host::wait_for::match, members, 0, &wide, sizeof wide, where);
  unsigned same = 0;
  std::memcpy(&same, f.out, sizeof same);
  return same;
}

// Runs `action` once with what every lane of the warp handed over; all 32 lanes take part.  The host half of matrix
// instructions (kernel/mma.cuh); it does not exist in device code.
inline void collective(void* mine, on_host::warp_action action, location where = location::current()) {
  on_host::fiber& f = on_host::self("a warp collective");
  f.action = action;
  on_host::running->wait_warp(on_host::wait_for::collective, full_warp, 0, &mine, sizeof mine, where);
}

// A copy happens as late as it may, when it is waited for; until then its target reads as NaN.
inline void copy_async(void* to, const void* from, int bytes, location where = location::current()) {
  on_host::fiber& f = on_host::self("copy_async");
  const on_host::block& b = *f.home;
  auto* target = static_cast<std::byte*>(to);
  if (target < b.shared || target + 16 > b.shared + b.shared_bytes)
    on_host::running->fail("copy_async at ", on_host::text_of(where), " writes outside the ", b.shared_bytes,
                           " bytes of shared memory");
  if (reinterpret_cast<std::uintptr_t>(to) % 16 != 0 || (bytes > 0 && reinterpret_cast<std::uintptr_t>(from) % 16 != 0))
    on_host::running->fail("copy_async at ", on_host::text_of(where), ": an address is not a multiple of 16");
  if (bytes < 0 || bytes > 16)
    on_host::running->fail("copy_async at ", on_host::text_of(where), ": ", bytes, " bytes, allowed are 0 to 16");
  std::memset(target, 0xFF, 16);
  f.copies.push_back({target, from, bytes, f.copy_group});
}
inline void copy_commit() { ++on_host::self("copy_commit").copy_group; }
template <int Groups>
void copy_wait() {
  on_host::fiber& f = on_host::self("copy_wait");
  std::size_t n = 0;
  for (; n < f.copies.size() && f.copies[n].group < f.copy_group - Groups; ++n) {
    const on_host::pending_copy& c = f.copies[n];
    std::memset(c.to, 0, 16);
    if (c.bytes > 0) std::memcpy(c.to, c.from, static_cast<std::size_t>(c.bytes));
  }
  f.copies.erase(f.copies.begin(), f.copies.begin() + static_cast<std::ptrdiff_t>(n));
}

inline int popcount(unsigned x) { return std::popcount(x); }
inline int find_first(unsigned x) { return x ? std::countr_zero(x) + 1 : 0; }

template <class T>
T* shared(std::size_t offset = 0, location where = location::current()) {
  const on_host::block& b = *on_host::self("shared").home;
  if (offset > b.shared_bytes || offset % alignof(T) != 0)
    on_host::running->fail("shared() at ", on_host::text_of(where), ": offset ", offset, " into ", b.shared_bytes,
                           " bytes, for a type of alignment ", alignof(T));
  return reinterpret_cast<T*>(b.shared + offset);
}

template <class T>
T atomic_add(T* p, std::type_identity_t<T> x, location where = location::current()) {
  static_assert(std::is_arithmetic_v<T>, "polymoe: atomic_add works on numbers");
  return on_host::atomic(
      p,
      [x](T old) {
        // Integers wrap on the device; unsigned arithmetic says so.
        if constexpr (std::is_integral_v<T>)
          return static_cast<T>(static_cast<std::make_unsigned_t<T>>(old) + static_cast<std::make_unsigned_t<T>>(x));
        else return old + x;
      },
      where);
}
template <class T>
T atomic_max(T* p, std::type_identity_t<T> x, location where = location::current()) {
  static_assert(std::is_integral_v<T>, "polymoe: atomic_max works on integers");
  return on_host::atomic(p, [x](T old) { return old < x ? x : old; }, where);
}
template <class T>
T atomic_min(T* p, std::type_identity_t<T> x, location where = location::current()) {
  static_assert(std::is_integral_v<T>, "polymoe: atomic_min works on integers");
  return on_host::atomic(p, [x](T old) { return x < old ? x : old; }, where);
}

template <class... Params, class... Args>
void launch(const launch_shape& shape, void (*kernel)(Params...), Args&&... args) {
  static_assert(sizeof...(Params) == sizeof...(Args),
                "polymoe: launch got another number of arguments than the kernel has parameters");
  static_assert((std::is_trivially_copyable_v<Params> && ...),
                "polymoe: kernel parameters are copied as bytes and have to be trivially copyable");
  detail::check_shape(shape);
  if (shape.grid.volume() == 0) return;
  const std::tuple<std::remove_cv_t<Params>...> values(static_cast<Params>(std::forward<Args>(args))...);
  on_host::submit(shape.stream, [shape, kernel, values] {
    auto call = [&] { std::apply(kernel, values); };
    on_host::machine::of_this_thread().run(
        shape, [](void* p) { (*static_cast<decltype(call)*>(p))(); }, &call);
  });
}

inline std::size_t shared_limit() { return on_host::machine::of_this_thread().options.shared_limit; }
// As on NVIDIA GPUs: the system keeps 1 KiB of a multiprocessor's shared memory for every block.
inline std::size_t shared_of_multiprocessor() { return shared_limit() + 1024; }
inline int multiprocessors() { return on_host::machine::of_this_thread().options.multiprocessors; }
template <class... Params>
int max_cooperative_blocks(void (*)(Params...), int /*threads*/, std::size_t /*shared_bytes*/) {
  const auto& options = on_host::machine::of_this_thread().options;
  return options.multiprocessors * options.blocks_per_multiprocessor;
}
inline void require_image() {}
// Work of a library that the executor stands in for (sort.cuh, host_blaslt.hpp), in the order of its stream.
template <class F>
void host_task(stream_handle stream, F work) {
  on_host::submit(stream, std::move(work));
}

}  // namespace polymoe::device
