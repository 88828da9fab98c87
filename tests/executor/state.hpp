// What the host executor keeps per launch: settings, errors, and the state of threads and blocks.
#pragma once

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include <polymoe/backend/cuda/device.cuh>

#include "fiber.hpp"

namespace polymoe::executor {

/// A kernel used the machine in a way that CUDA leaves undefined.
class failure : public polymoe::error {
 public:
  using error::error;
};
/// No thread can go on.  The text says what each one waits for.
class deadlock : public failure {
 public:
  using failure::failure;
};

enum class order : int { shuffled, ascending, descending };

/// How kernels run; the same settings give the same run.
struct settings {
  std::uint64_t seed = 1;
  order blocks = order::shuffled;   ///< in which order blocks start
  order threads = order::shuffled;  ///< in which order the threads of a block run between two barriers
  int resident_blocks = 1;          ///< blocks that run interleaved in a launch that is not cooperative
  bool exited_threads_pass = false; ///< a barrier does not wait for threads that have left (as sm_70 and later do)
  std::size_t stack_bytes = default_stack_bytes;
  std::size_t shared_limit = 232448;    ///< bytes of dynamic shared memory a block may ask for (sm_90)
  int multiprocessors = 4;              ///< what device::multiprocessors() answers
  int blocks_per_multiprocessor = 4;    ///< times multiprocessors: the largest cooperative grid
  bool deferred = false;                ///< streams run when somebody waits for them, as late as they may
  bool side_first = false;              ///< and before that the other streams, as far as they may
};

/// What the last launch of this thread did.
struct statistics {
  index blocks = 0, threads = 0, switches = 0;
};

namespace detail {

enum class wait_for : int { nothing, block, grid, word, sync_warp, shuffle_xor, shuffle_up, shuffle_idx, ballot, match,
                            collective };
inline const char* name_of(wait_for w) {
  constexpr const char* names[] = {"nothing", "block barrier", "grid barrier", "word", "sync_warp", "shuffle_xor",
                                   "shuffle_up", "shuffle_idx", "ballot", "match", "warp collective"};
  return names[static_cast<int>(w)];
}

/// The call site a wrapper was used at; std::source_location is missing from some front ends we build with.
struct location {
  const char* file = "";
  int line = 0;
  static constexpr location current(const char* f = __builtin_FILE(), int l = __builtin_LINE()) { return {f, l}; }
};

inline std::string text_of(const location& where) {
  const std::string path = where.file;
  return path.substr(path.find_last_of('/') + 1) + ":" + std::to_string(where.line);
}
inline std::string text_of(device::dim d) {
  return "(" + std::to_string(d.x) + "," + std::to_string(d.y) + "," + std::to_string(d.z) + ")";
}
/// "0-3, 7" for the bits 0x8f.
inline std::string text_of_lanes(unsigned bits) {
  std::string text;
  for (int i = 0; i < 32; ++i) {
    if (!(bits >> i & 1u)) continue;
    int last = i;
    while (last < 31 && (bits >> (last + 1) & 1u)) ++last;
    text += (text.empty() ? "" : ", ") + std::to_string(i) + (last > i ? "-" + std::to_string(last) : "");
    i = last;
  }
  return text;
}

/// splitmix64; our own shuffle, so that a seed means the same order with every standard library.
struct dice {
  std::uint64_t state;
  std::uint64_t operator()() {
    std::uint64_t z = (state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  template <class T>
  void arrange(std::vector<T>& v, order o) {
    if (o == order::descending) std::reverse(v.begin(), v.end());
    if (o != order::shuffled) return;
    for (std::size_t i = v.size(); i > 1; --i) std::swap(v[i - 1], v[(*this)() % i]);
  }
};

struct block;

/// What a warp collective runs, once, when all lanes are there: lanes[i] is what lane i handed over.
using warp_action = void (*)(void* const (&lanes)[32]);

/// A copy to shared memory that has been started and not waited for.
struct pending_copy {
  std::byte* to = nullptr;
  const void* from = nullptr;
  int bytes = 0;  ///< read from `from`; the rest of the 16 are zeros
  int group = 0;
};

/// One CUDA thread.
struct fiber {
  static constexpr std::size_t payload = 64;
  coroutine self{};
  block* home = nullptr;
  int rank = 0;
  device::dim position{};
  bool finished = false;
  wait_for kind = wait_for::nothing;  ///< `nothing` while it runs or could run
  unsigned members = 0;
  int source = 0;                     ///< lane a shuffle reads from; predicate of a ballot
  const unsigned* word = nullptr;
  unsigned value = 0;
  location where{};
  warp_action action = nullptr;
  std::vector<pending_copy> copies{};  ///< in the order they were started
  int copy_group = 0;                  ///< groups committed so far
  alignas(16) std::byte in[payload];
  alignas(16) std::byte out[payload];
};

/// One CUDA block: its threads and its shared memory between two guards.
struct block {
  // A guard reads as NaN in every float type, and differs from what kernels write (zeros, -1, poison).
  static constexpr std::uint32_t guard_word = 0x7FFDA5A5u;
  static constexpr std::size_t guard_bytes = 4096, alignment = 1024;

  device::dim position{};
  index rank = 0;
  int size = 0, left = 0, arrived = 0;  ///< threads; that have not finished; that stand at the block barrier
  std::vector<fiber*> threads{};        ///< by rank
  std::vector<int> turn{};              ///< the order in which they become ready
  std::byte* shared = nullptr;
  std::size_t shared_bytes = 0;
  std::vector<std::byte> memory{};

  block() = default;
  block(const block&) = delete;
  block& operator=(const block&) = delete;
  ~block() { guard(false); }

  /// Shuts or opens the guards for AddressSanitizer; nothing in other builds.
  void guard([[maybe_unused]] bool shut) const {
#if defined(POLYMOE_EXECUTOR_ASAN)
    if (!shared) return;
    const auto set = [&](const std::byte* p) {
      if (shut) __asan_poison_memory_region(p, guard_bytes);
      else __asan_unpoison_memory_region(p, guard_bytes);
    };
    set(shared - guard_bytes), set(shared + shared_bytes);
#endif
  }
  /// Fresh shared memory: every byte 0xFF, guards whole.
  void prepare_shared(std::size_t bytes) {
    guard(false);
    shared_bytes = bytes;
    memory.resize(std::max(memory.size(), alignment + 2 * guard_bytes + bytes));
    const auto start = reinterpret_cast<std::uintptr_t>(memory.data()) + guard_bytes;
    shared = memory.data() + guard_bytes + (alignment - start % alignment) % alignment;
    for (std::size_t i = 0; i < guard_bytes; i += 4) {
      std::memcpy(shared - guard_bytes + i, &guard_word, 4);
      std::memcpy(shared + bytes + i, &guard_word, 4);
    }
    if (bytes > 0) std::memset(shared, 0xFF, bytes);
    guard(true);
  }
  /// 0 when the guards are whole, else 1 + the distance of the first changed byte beyond the memory (< 0: before it).
  std::ptrdiff_t damage() const {
    if (guards_stop_program) return 0;
    const auto changed = [](const std::byte* guard, std::size_t i) {
      return guard[i] != static_cast<std::byte>(guard_word >> (8 * (i % 4)) & 0xFFu);
    };
    const auto whole = [](const std::byte* guard) {
      std::uint32_t first = 0;
      std::memcpy(&first, guard, 4);
      return first == guard_word && std::memcmp(guard, guard + 4, guard_bytes - 4) == 0;
    };
    const std::byte *before = shared - guard_bytes, *after = shared + shared_bytes;
    if (!whole(after))
      for (std::size_t i = 0; i < guard_bytes; ++i)
        if (changed(after, i)) return 1 + static_cast<std::ptrdiff_t>(i);
    if (!whole(before))
      for (std::size_t i = guard_bytes; i-- > 0;)
        if (changed(before, i)) return static_cast<std::ptrdiff_t>(i) - static_cast<std::ptrdiff_t>(guard_bytes);
    return 0;
  }
};

}  // namespace detail
}  // namespace polymoe::executor
