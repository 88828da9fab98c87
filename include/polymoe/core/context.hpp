// What a call runs in: stream, mode, the per-step values, scratch memory and random streams.
#pragma once

#include "arena.hpp"
#include "rng.hpp"

namespace polymoe::inline v0 {

/// Training or evaluation: picks capacity, noise, dropout and thresholds at run time.
enum class run_mode : int { train, eval };

/// Everything that changes from step to step.  It lives in the backend's memory and is read there, so that a captured
/// CUDA graph stays right when it is replayed in a later step.
struct step_state {
  index step = 0;            ///< optimiser step, counted from 0
  index micro = 0;           ///< micro-batch inside the step (gradient accumulation)
  float learning_rate = 0;   ///< of this step, after schedule and warm-up
  float temperature = 1;     ///< divides router logits
  float noise = 1;           ///< multiplies router noise
  float balance = 1;         ///< multiplies every balance loss weight
};

/// The arguments every module call shares.
template <class Backend>
struct context {
  typename Backend::stream stream{};
  run_mode mode = run_mode::train;
  const step_state* step = nullptr;  ///< in the backend's memory; null means the defaults above
  arena scratch{};                   ///< one call's memory, given back when the call returns
  random_root random{};
  /// [T] wanted expert of every unit of this call, -1: none; in the backend's memory, alive until backward.  Only
  /// routers with balance::supervised look.
  const int* targets = nullptr;
  const std::int32_t* halted = nullptr;  ///< in the backend's memory; while it is not 0, commit forgets the step
  /// Routers keep the plan of the last call, of as many units; for what is asked of a plan that should not change
  /// (analysis/loss_landscape.hpp).  Forward only.
  bool keep_plans = false;

  bool training() const { return mode == run_mode::train; }
  /// Stream `id` (a hash of a module path) at this step and micro-batch.  Host code only.
  random_stream draw(std::uint64_t id) const {
    const step_state s = step ? *step : step_state{};
    return random.stream(id, static_cast<std::uint64_t>(s.step) << 20 | static_cast<std::uint64_t>(s.micro));
  }
};

/// Collects, in a dry pass, how much memory a module needs; hands it out in a second pass.
template <class Backend>
struct binder {
  arena saved{};                ///< forward to backward
  arena scratch{};              ///< largest need of one call
  int threads = 1;              ///< workers the context will have
  std::size_t worker_bytes = 0; ///< largest private scratch one worker needs

  void need_worker(std::size_t bytes) { worker_bytes = bytes > worker_bytes ? bytes : worker_bytes; }
};

}  // namespace polymoe
