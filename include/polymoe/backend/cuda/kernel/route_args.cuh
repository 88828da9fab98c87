// What the router's kernels work on: the caller's pointers and sizes, the scratch of one call, and its order of steps.
#pragma once

#include "../../../capacity/capacity.hpp"
#include "../../../combine/combine.hpp"
#include "../../../core/context.hpp"
#include "../../../layer/recipe.hpp"
#include "../../../layer/stats.hpp"
#include "../../../plan/sparse_plan.hpp"
#include "../../../router/input_noise.hpp"
#include "../../../router/order_key.hpp"
#include "../../../router/reload_row.hpp"
#include "../../../router/strictly_balanced.hpp"
#include "../../../router/with_cosine.hpp"
#include "../backend.cuh"
#include "../block_group.cuh"
#include "../tuning/route.hpp"

namespace polymoe::inline v0 {

/// What logits that are cosines have besides (with_cosine.hpp); all device memory.
template <class C>
struct cosine_args {
  index width = 0;                     ///< P, columns of `weight`
  const C* projection = nullptr;       ///< [P, D], null without one
  const C* projection_bias = nullptr;  ///< [P], or null
  const C* log_scale = nullptr;        ///< [1]
  float largest_scale = 0;
  C* rows = nullptr;           ///< [T, P] what is compared; null where it is the input
  C* unit_length = nullptr;    ///< [T] 1 / |h_t|
  C* expert_length = nullptr;  ///< [E] 1 / |w_e|
};

/// One routing call.  Every pointer is device memory of the caller; matrices are contiguous unless a stride is named.
/// The sizes in `plan` (layout, tokens, experts, all_experts, groups, group_size, k, capacity, max_slots) are set by
/// the host, its arrays are written by forward.  Of a plan with the identity layout only begin, gate, bad and bad_count
/// are.
template <class T>
struct route_args {
  using C = compute_t<T>;
  using M = master_t<T>;

  const T* input = nullptr;  ///< [T, D] router input, rows `input_stride` apart
  index input_stride = 0;
  index dim = 0;                    ///< D
  const M* weight = nullptr;        ///< [E, D]
  const M* noise_weight = nullptr;  ///< [E, D] second projection, null when there is one
  const M* weight_bias = nullptr;   ///< [E] added to the logits, or null
  const M* noise_bias = nullptr;    ///< [E] added to the second projection, or null
  cosine_args<C> cosine{};          ///< of routers whose logits are cosines; `weight` is [E, P] there

  // Written by forward, read by backward.
  sparse_plan<C> plan{};
  C* logits = nullptr;      ///< [T, E] clean
  C* raw = nullptr;         ///< [T, E] second projection, or null
  C* noisy = nullptr;       ///< [T, E] after noise and dropout; null for routers without
  C* scores = nullptr;      ///< [T, E]
  C* affinity = nullptr;    ///< [T, E] what a group plan found, for routers that make one
  C* d_affinity = nullptr;  ///< [T, E] its gradient, where gates are made of it
  C* kept = nullptr;        ///< [G, kept_cols] what the group plan keeps
  index kept_cols = 0;
  int* kept_steps = nullptr;  ///< [G]
  const float* start = nullptr;  ///< [E] prices that group plans begin with, null without
  float* found = nullptr;        ///< [G, E] those they end with, NaN of groups of bad units
  C* totals = nullptr;        ///< [G, columns * E] balance totals
  C* cotangents = nullptr;    ///< [G, columns * E]
  C* values = nullptr;        ///< [terms + 1] per loss, unweighted mean over groups; last: weighted sum
  int* wish = nullptr;        ///< [T, K] expert wished for, -1 for none; null where experts pick
  int* position = nullptr;    ///< [T, K] position in the run, -1 for none; null where experts pick

  routing_stats* stats = nullptr;  ///< [1] filled with the three arrays below as its members
  double* gate_mass = nullptr;     ///< [E]
  index* wished = nullptr;         ///< [E]
  index* served = nullptr;         ///< [E]

  // State of the loss-free bias, null without.
  const float* bias = nullptr;  ///< [E] added to scores for the selection
  float* load = nullptr;        ///< [E] += wishes, in training
  // State of a balance loss that adapts, null without.
  const float* coefficient = nullptr;  ///< [1]
  float* active = nullptr;             ///< [2] += share of scores above zero, and 1, in training
  // State of a router that learns thresholds, null without.
  const float* threshold = nullptr;  ///< [E]
  float* threshold_gap = nullptr;    ///< [E + 1] += (above - picked) / finite units; last: += 1, in training

  // Values of the call.
  const int* target = nullptr;       ///< [T] wanted experts for balance::supervised, or null
  const step_state* step = nullptr;  ///< device memory; null means the defaults
  run_mode mode = run_mode::train;
  random_root random{};
  std::uint64_t noise_stream = 0;  ///< id of the noise stream
  input_shares shares{};           ///< of routers that perturb their input, and the ids of their streams
  std::uint64_t jitter_stream = 0, dropout_stream = 0;

  // Scratch, see route_workspace_bytes.
  void* workspace = nullptr;
  std::size_t workspace_bytes = 0;

  /// With a barrier (two words zeroed once) and a grid that fits the device (see route_cooperative_blocks), all steps
  /// run in one cooperative launch; with 0 blocks every step is a launch of its own.
  device::grid_barrier barrier{};
  int cooperative_blocks = 0;
  int plan_blocks = 0;  ///< the same for the group plan; with 0 every group is one block's
};

/// The order of a stable sort of 64-bit keys with their ids; see dispatch/sort.cuh, which has the only one.
struct route_sort {
  /// Bytes of scratch for `n` keys compared in their lowest `bits` bits.
  std::size_t (*bytes)(int n, int bits) = nullptr;
  /// keys_out, ids_out = keys, ids in ascending order; `keys` and `ids` keep their values.
  void (*run)(device::stream_handle stream, void* scratch, std::size_t bytes, const std::uint64_t* keys,
              std::uint64_t* keys_out, const int* ids, int* ids_out, int n, int bits) = nullptr;
};

/// Rows that cosines are made of: h, or the input where that is the same numbers.
template <class C>
struct compared_rows {
  const C* data;
  index stride;
};
template <class T>
POLYMOE_HD compared_rows<compute_t<T>> compared_rows_of(const route_args<T>& a) {
  if constexpr (std::is_same_v<T, compute_t<T>>)
    if (!a.cosine.rows) return {a.input, a.input_stride};
  return {a.cosine.rows, a.cosine.width};
}

/// Stream `id` at the step and micro-batch of the call.
template <class T>
POLYMOE_HD random_stream stream_of_call(const route_args<T>& a, const step_state& s, std::uint64_t id) {
  return a.random.stream(id, static_cast<std::uint64_t>(s.step) << 20 | static_cast<std::uint64_t>(s.micro));
}
/// What the router does to its input in this call.
template <bool Perturbed, class T>
POLYMOE_HD auto input_noise_of([[maybe_unused]] const route_args<T>& a) {
  if constexpr (Perturbed) {
    const step_state s = a.step ? *a.step : step_state{};
    return input_noise(a.shares, a.mode == run_mode::train ? s.noise : 0.0f, stream_of_call(a, s, a.jitter_stream),
                       stream_of_call(a, s, a.dropout_stream));
  } else {
    return no_input_noise{};
  }
}

/// The values of a call that are the same for all rows, read from the step in device memory.  A temperature that is not
/// positive makes every row a bad one: a kernel cannot refuse it, and nothing may be routed by it.
template <class T>
POLYMOE_HD route_values route_values_of(const route_args<T>& a) {
  const step_state s = a.step ? *a.step : step_state{};
  route_values v;
  v.inverse_temperature = s.temperature > 0 ? 1.0f / s.temperature : __builtin_nanf("");
  v.noise = a.mode == run_mode::train ? s.noise : 0.0f;
  v.draw = stream_of_call(a, s, a.noise_stream);
  v.bias = a.bias;
  return v;
}

enum class route_step { rows, choose, count, scan, place, propose, overflow, overflow_scan, offsets, finish };

/// What the policies ask of the steps, and the steps in order.  A barrier of the whole grid, or a new launch, lies
/// between two steps.
template <class Router, class Capacity>
struct route_schedule {
  using Overflow = typename Capacity::overflow_policy;
  static constexpr polymoe::recipe recipe = choose_route<Router, Capacity, backend::cuda_device>();
  static constexpr bool mixture = recipe.all_experts(), picked = recipe.picked();
  static constexpr bool by_unit = recipe.by_unit();   ///< every unit chooses K experts
  static constexpr bool plans = recipe.group_plan;    ///< between the rows and the choices
  /// Choices (the gates of a mixture) are made from the rows of that plan: a step of its own behind it.
  static constexpr bool chooses_later = plans && !picked;
  static constexpr int K = choices_of<Router>;
  static constexpr auto priority_kind = Capacity::priority_policy::value;
  static constexpr bool limited = recipe.capacity_binds && by_unit;
  static constexpr bool fallback = recipe.fallback, identity = recipe.unit_for_expert;
  static constexpr int rounds = limited ? Overflow::rounds : 0;
  /// Places are given in another order than by position, so the items have to be sorted first.
  static constexpr bool ordered = limited && priority_kind != priority::kind::position;
  static constexpr bool by_choice = ordered && priority_kind == priority::kind::probability;
  static constexpr bool at_random = ordered && priority_kind == priority::kind::random;
  /// Units that hold their choices in one tile can give the last places while they finish.
  static constexpr bool place_in_finish = by_unit && !ordered && !fallback;

  struct at_step {
    route_step step;
    int round;
  };
  static constexpr int first_steps = chooses_later ? 2 : 1;  ///< until every unit has chosen
  static constexpr int other_steps = !by_unit  ? 3
                                     : ordered ? 3 + 4 * rounds + (fallback ? 2 : 0) + 2
                                               : 1 + 2 * rounds + (fallback ? 2 : 0) + 2;
  static constexpr int steps = first_steps + other_steps;
  /// The i-th step.  By position one step gives the places of a round, proposes for the next and counts it.
  POLYMOE_HD static constexpr at_step at(int i) {
    if (i == 0) return {route_step::rows, 0};
    if (i < first_steps) return {route_step::choose, 0};
    if (i == steps - 1) return {route_step::finish, rounds};
    if (i == steps - 2) return {route_step::offsets, 0};
    i -= first_steps - 1;
    if constexpr (!by_unit) {
      return {route_step::scan, 0};
    } else if constexpr (ordered) {
      if (fallback && i == other_steps - 2) return {route_step::overflow_scan, 0};
      if (fallback && i == other_steps - 3) return {route_step::overflow, 0};
      const int round = i / 4, in_round = i % 4;
      if (in_round == 0) return {route_step::propose, round};
      return {in_round == 1 ? route_step::count : (in_round == 2 ? route_step::scan : route_step::place), round};
    } else {
      if (fallback && i == other_steps - 2) return {route_step::overflow_scan, 0};
      return {i % 2 == 1 ? route_step::scan : route_step::place, (i - 1) / 2};
    }
  }
};

/// What selections compare, and what gates are made of: [T, E].
template <class Router, class T>
POLYMOE_HD const compute_t<T>* selection_scores(const route_args<T>& a) {
  return plans_groups<Router> ? a.affinity : a.scores;
}
template <class Router, class T>
POLYMOE_HD const compute_t<T>* gate_scores(const route_args<T>& a) {
  return weighs_plan<Router> ? a.affinity : a.scores;
}

/// Keys of units in a column: larger scores first, order_key.hpp.
template <class C>
using column_key = decltype(descending_key(C(0)));

/// Scratch of one call.
template <class C>
struct route_scratch {
  C* partial = nullptr;              ///< [tiles, columns * E] balance shares
  double* tile_stats = nullptr;      ///< [tiles, E + 2] gate mass, entropy, margin
  int* tile_finite = nullptr;        ///< [tiles] units that are not bad
  int* group_finite = nullptr;       ///< [G]
  C* group_values = nullptr;         ///< [G, terms]
  double* decision = nullptr;        ///< [2] sums of entropy and margin
  int* run_total = nullptr;          ///< [all_experts] occupied slots of each expert
  index* moved = nullptr;            ///< [1] choices placed by rerouting
  int* runs = nullptr;               ///< [G, E, item tiles] wishes of a tile, then the position of its first item
  int* proposed = nullptr;           ///< [T * K, rounds] experts proposed by rerouting, -1 for none
  int* overflow = nullptr;           ///< [tiles] units with overflow, then their number before the tile
  column_key<C>* columns = nullptr;  ///< [E, T] keys of the units, where experts pick
  int* picked = nullptr;             ///< [E, T] position of the unit in the expert's run, -1 for none
  int* above = nullptr;              ///< [E] units above the thresholds, where those learn
  int* tile_picks = nullptr;         ///< [tiles] slots of the units of a tile, then their number before it
  int* tile_range = nullptr;         ///< [tiles, 3] finite units without an expert; least and most experts of one
  unsigned* plan_words = nullptr;    ///< [G, 2] barriers of the blocks that share a group
  double* plan_exchange = nullptr;   ///< [most_blocks_of_plan]
  std::uint64_t* keys[2] = {};       ///< [T] or [T * K] priority of units or choices
  int* ids[2] = {};
  const int* order = nullptr;  ///< ids, sorted
  void* sort = nullptr;
  std::size_t sort_bytes = 0;

  int tiles_per_group = 0, tiles = 0, item_tiles = 0;  ///< item tiles are counted per group
};

/// Cuts `work` into the arrays of a call; with a dry arena only its use is of interest.
template <class Router, class Capacity, class Balance, class C>
route_scratch<C> cut_route_scratch(const sparse_plan<C>& p, arena& work) {
  using schedule = route_schedule<Router, Capacity>;
  const index E = p.experts, G = p.groups, K = schedule::K;
  route_scratch<C> s;
  s.tiles_per_group = static_cast<int>(ceil_div(p.group_size, route_tuning::tile_units));
  s.tiles = static_cast<int>(G * s.tiles_per_group);
  s.item_tiles = static_cast<int>(schedule::by_choice ? ceil_div(index{p.group_size} * K, route_tuning::tile_units)
                                                      : K * s.tiles_per_group);
  s.partial = work.template take_raw<C>(s.tiles * Balance::columns * E);
  s.tile_stats = work.template take_raw<double>(s.tiles * (E + 2));
  s.tile_finite = work.template take_raw<int>(s.tiles);
  s.group_finite = work.template take_raw<int>(G);
  s.group_values = work.template take_raw<C>(G * Balance::terms);
  s.decision = work.template take_raw<double>(2);
  s.run_total = work.template take_raw<int>(p.all_experts);
  s.moved = work.template take_raw<index>(1);
  if constexpr (schedule::by_unit) s.runs = work.template take_raw<int>(G * E * s.item_tiles);
  if constexpr (schedule::rounds > 0) s.proposed = work.template take_raw<int>(index{p.tokens} * K * schedule::rounds);
  if constexpr (schedule::fallback) s.overflow = work.template take_raw<int>(s.tiles);
  if constexpr (schedule::picked) {
    s.columns = work.template take_raw<column_key<C>>(E * p.tokens);
    s.picked = work.template take_raw<int>(E * p.tokens);
    s.tile_picks = work.template take_raw<int>(s.tiles);
    s.tile_range = work.template take_raw<int>(index{s.tiles} * 3);
    if constexpr (learns_thresholds<Router>) s.above = work.template take_raw<int>(E);
  }
  if constexpr (schedule::plans) {
    s.plan_words = work.template take_raw<unsigned>(2 * G);
    s.plan_exchange = work.template take_raw<double>(route_tuning::most_plan_blocks);
  }
  if constexpr (schedule::ordered) {
    const index items = index{p.tokens} * (schedule::by_choice ? K : 1);
    for (int i = 0; i < 2; ++i) {
      s.keys[i] = work.template take_raw<std::uint64_t>(items);
      s.ids[i] = work.template take_raw<int>(items);
    }
  }
  return s;
}

/// Bytes at the start of shared memory that are left to rows spread over a block.
inline constexpr std::size_t route_exchange_bytes = block_group<route_tuning::threads>::exchange_bytes;

/// The group of a row's lanes: a warp, or the block for long rows.
template <int Tier>
struct route_lanes {
  static constexpr bool in_block = Tier > route_tuning::warp_row_experts;
  using type = std::conditional_t<in_block, block_group<route_tuning::threads>, warp_group>;
  /// Units a block works on at a time.
  static constexpr int units = in_block ? 1 : route_tuning::warps;
  /// Bytes at the start of shared memory that belong to the lanes.
  static constexpr std::size_t reserved = in_block ? route_exchange_bytes : 0;
  /// Which of the block's units this thread works on.
  POLYMOE_DEVICE static int unit() { return in_block ? 0 : device::warp(); }
  POLYMOE_DEVICE static void sync() {
    if constexpr (in_block)
      device::sync_block();
    else
      device::sync_warp();
  }
};

/// A row of [T, E] numbers at `from`.
template <class Row>
POLYMOE_DEVICE Row load_route_row(const typename Row::scalar* from, int experts) {
  Row r;
  r.n = experts;
  POLYMOE_UNROLL
  for (int i = 0; i < Row::per_lane; ++i) r.v[i] = r.present(i) ? from[r.expert(i)] : typename Row::scalar(0);
  return r;
}
template <class Row>
POLYMOE_DEVICE void store_route_row(const Row& r, typename Row::scalar* to) {
  POLYMOE_UNROLL
  for (int i = 0; i < Row::per_lane; ++i)
    if (r.present(i)) to[r.expert(i)] = r.v[i];
}
template <class Row>
POLYMOE_DEVICE Row zero_route_row(int experts) {
  Row r;
  r.n = experts;
  POLYMOE_UNROLL
  for (int i = 0; i < Row::per_lane; ++i) r.v[i] = typename Row::scalar(0);
  return r;
}

/// Shared memory of a combine rule over any number of experts (mixtures, experts that pick): one unit's scores, weights
/// and gradients.
template <int Tier, class C>
struct mixture_choice {
  chosen_scores<Tier, C> c;
  C weight[Tier];
  C d_score[Tier];
};

/// The expert that owns a slot.
template <class C>
POLYMOE_DEVICE int expert_of_slot(const sparse_plan<C>& p, int slot) {
  int e = 0, end = p.experts;
  while (end - e > 1) {
    const int middle = e + (end - e) / 2;
    (p.begin[middle] <= slot ? e : end) = middle;
  }
  return e;
}
/// m.c of a unit that experts picked: its `n` slots begin at place `first` of the lists.  All lanes of the unit.
template <class Row, int Tier, class T>
POLYMOE_DEVICE void load_picks(const route_args<T>& a, const compute_t<T>* scores, index t, int first, int n,
                               mixture_choice<Tier, compute_t<T>>* m) {
  const typename Row::lanes lanes{};
  route_lanes<Tier>::sync();
  for (int j = lanes.lane(); j < n; j += Row::lanes::width)
    m->c.score[j] = scores[t * a.plan.experts + expert_of_slot(a.plan, a.plan.slot_of[first + j])], m->c.kept[j] = true;
  if (lanes.lane() == 0) m->c.n = n;
  route_lanes<Tier>::sync();
}

/// The scores of unit t's choices and whether each is served, as the CPU's chosen_of.
template <int K, class T>
POLYMOE_DEVICE chosen_scores<K, compute_t<T>> served_choices(const route_args<T>& a, const compute_t<T>* scores,
                                                             index t) {
  using C = compute_t<T>;
  chosen_scores<K, C> c;
  c.n = K;
  POLYMOE_UNROLL
  for (int j = 0; j < K; ++j) {
    const int e = a.plan.expert_of[t * K + j], wish = a.wish[t * K + j], by = e >= 0 ? e : wish;
    c.kept[j] = e >= 0;
    c.score[j] = by >= 0 ? scores[t * a.plan.experts + by] : C(0);
  }
  return c;
}

}  // namespace polymoe
