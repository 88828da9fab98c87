// The CPU backend's tag, its stream (a number of workers) and its one parallel loop.
//
// Work is cut into tiles whose number depends on sizes only; workers take tiles in any order.  Each tile is computed by
// one worker from start to end, so results have the same bits for any number of threads.
//
// Threads come from OpenMP.  With POLYMOE_STD_THREADS they are std::threads made for each loop: slower, the same bits,
// and every synchronisation can be seen by a thread sanitizer (GCC's OpenMP library is not built for one).
#pragma once

#include <exception>

#include "../../core/context.hpp"

#if defined(POLYMOE_STD_THREADS)
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>
#elif defined(_OPENMP)
#include <omp.h>
#endif

namespace polymoe::inline v0 {

/// Number of threads the machine offers.
inline int hardware_threads() {
#if defined(POLYMOE_STD_THREADS)
  const unsigned n = std::thread::hardware_concurrency();
  return n > 0 ? static_cast<int>(n) : 1;
#elif defined(_OPENMP)
  return omp_get_num_procs();
#else
  return 1;
#endif
}

/// One thread of a parallel loop and its private scratch.
struct worker {
  int id = 0;
  std::byte* scratch = nullptr;
  std::size_t bytes = 0;
};

struct expert_work;

namespace backend {
template <class T, class Maths>
struct slot_plan;

/// CPU backend whose dense products come from `Maths` (maths::automatic, onednn, cblas, builtin).
template <class Maths>
struct cpu_with {
  using maths = Maths;
  using memory = host_memory;
  using expert_work = polymoe::expert_work;
  template <class T>
  using expert_input = view<const T>;    ///< rows that experts read
  static constexpr bool gathers = true;  ///< they are copied to slot order first
  template <class T>
  static constexpr bool computes = true;  ///< whether layers of scalar T exist
  static constexpr bool column_routers = true;  ///< routers with phases over a group (core/block.hpp)
  static constexpr bool balanced_routers = true;  ///< learned thresholds, balanced assignment
  static constexpr bool slot_routers = true;    ///< routers that mix units into slots (Soft MoE)
  template <class T>
  using slot_plan = backend::slot_plan<T, Maths>;  ///< the plan they make
  static constexpr bool carries_prices = true;  ///< group plans that begin where the last step ended
  static constexpr bool keeps_plans = true;  ///< group plans are made for routing::plans alone, too
  static constexpr bool convolves = true;  ///< whether it has convolutions
  static constexpr const char* name = "cpu";
  struct stream {
    int threads = 1;                  ///< workers of a parallel loop
    std::byte* worker_scratch = nullptr;  ///< threads * worker_bytes
    std::size_t worker_bytes = 0;
    worker at(int i) const {
      return {i, worker_scratch ? worker_scratch + static_cast<std::size_t>(i) * worker_bytes : nullptr, worker_bytes};
    }
  };

  /// Owns what a stream needs: the scratch of its workers.
  class runtime {
   public:
    runtime() = default;
    runtime(int threads, std::size_t worker_bytes) {
      const index each = round_up(static_cast<index>(worker_bytes), arena::alignment);
      workers_ = aligned_block(static_cast<std::size_t>(each * threads));
      stream_ = {threads, static_cast<std::byte*>(workers_.data()), static_cast<std::size_t>(each)};
    }
    const stream& get() const { return stream_; }

   private:
    aligned_block workers_;
    stream stream_;
  };
};

/// Whether convolutions exist on a backend: modules of nn on feature maps, and experts that are made of them.
template <class Backend>
consteval bool has_convolutions() {
  if constexpr (requires { Backend::convolves; })
    return Backend::convolves;
  else
    return false;
}
}  // namespace backend

namespace maths {
struct automatic;
}
/// The CPU backend with the best libraries it was compiled with.
using cpu = backend::cpu_with<maths::automatic>;

/// Calls f(tile, worker) for every tile in [0, tiles).  The first exception thrown by a tile is rethrown here.
template <class Stream, class F>
void parallel_for(const Stream& s, index tiles, F f) {
#if defined(POLYMOE_STD_THREADS)
  if (s.threads > 1 && tiles > 1) {
    // Relaxed: a thread that takes a tile learns nothing about the other tiles, just as the loop promises.
    std::atomic<index> next{0};
    std::exception_ptr first;
    std::mutex first_guard;
    const auto work = [&](int id) {
      worker w = s.at(id);
      for (index i; (i = next.fetch_add(1, std::memory_order_relaxed)) < tiles;) {
        try {
          f(i, w);
        } catch (...) {
          const std::lock_guard<std::mutex> lock(first_guard);
          if (!first) first = std::current_exception();
        }
      }
    };
    std::vector<std::thread> team;
    for (int id = 1; id < s.threads; ++id) team.emplace_back(work, id);
    work(0);
    for (std::thread& t : team) t.join();
    if (first) std::rethrow_exception(first);
    return;
  }
#elif defined(_OPENMP)
  if (s.threads > 1 && tiles > 1) {
    std::exception_ptr first;
#pragma omp parallel num_threads(s.threads)
    {
      worker w = s.at(omp_get_thread_num());
#pragma omp for schedule(dynamic, 1)
      for (index i = 0; i < tiles; ++i) {
        try {
          f(i, w);
        } catch (...) {
#pragma omp critical(polymoe_first_exception)
          if (!first) first = std::current_exception();
        }
      }
    }
    if (first) std::rethrow_exception(first);
    return;
  }
#endif
  worker w = s.at(0);
  for (index i = 0; i < tiles; ++i) f(i, w);
}

/// parallel_for over row ranges: f(first_row, row_count, worker), `grain` rows a tile (the last may be shorter).
template <class Stream, class F>
void parallel_rows(const Stream& s, index rows, index grain, F f) {
  parallel_for(s, ceil_div(rows, grain), [&](index tile, worker& w) {
    const index first = tile * grain;
    f(first, rows - first < grain ? rows - first : grain, w);
  });
}

}  // namespace polymoe
