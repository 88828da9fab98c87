// routing<Spec, Backend>: the first half of a layer, from router input to plan.
//
//   forward   r [T, D_r] -> plan, balance losses, statistics
//   backward  d_gate summed over all users of the plan (plus balance gradients, once) -> d_r, router gradients
//
// A router shared by several layers is one routing with several applies: call open_backward once, let every apply add to
// d_gate, then call backward once.
#pragma once

#include "../backend/cpu/logits.hpp"
#include "../backend/cpu/route.hpp"
#include "../core/cost.hpp"
#include "spec.hpp"

namespace polymoe::inline v0 {

/// Run-time values of a routing module.
template <class Spec>
struct routing_config {
  index dim = 0;         ///< D_r, width of the router input
  index experts = 0;     ///< E
  index group_size = 0;  ///< units per group; 0: the whole call is one group
  typename Spec::router router{};
  typename Spec::capacity capacity{};
  typename Spec::combine combine{};
  balance::as_sum<typename Spec::balance> balance{};
  bool padded = false;   ///< padded plan layout instead of packed (bounded capacity only)
};

template <class Spec, class Backend>
class routing {
 public:
  using scalar = typename Spec::scalar;
  using backend = Backend;
  using T = scalar;
  using C = compute_t<T>;
  using M = master_t<T>;
  using Router = typename Spec::router;
  using Capacity = typename Spec::capacity;
  using Balance = balance::as_sum<typename Spec::balance>;
  using Maths = typename Backend::maths;
  using config = routing_config<Spec>;

  static constexpr bool all_experts = Router::k == every_expert;
  static constexpr bool learned_noise = projections<Router> > 1;
  static constexpr auto overflow_kind = Capacity::overflow_policy::value;
  static constexpr bool has_fallback = Capacity::limited && overflow_kind == overflow::kind::fallback && !all_experts;
  static constexpr bool has_skip = Capacity::limited && overflow_kind == overflow::kind::identity && !all_experts;

  struct saved : route_memory<C> {
    view<const T> input;  ///< the caller keeps the router input alive until backward
    view<C> d_logits, d_raw;
    view<C> pieces;       ///< partial weight gradients, one row per row range
    index max_units = 0;
  };

  explicit routing(config c)
      : config_(checked(c)), logits_(c.dim, c.experts), back_(c.experts, c.dim), outer_(c.experts, c.dim) {}

  const config& settings() const { return config_; }
  config& settings() { return config_; }
  index in_cols() const { return config_.dim; }
  int plan_experts() const { return static_cast<int>(config_.experts) + (has_fallback ? 1 : 0); }

  template <class V>
  void visit(V& v) {
    v.add(weight_, "weight", {config_.experts, config_.dim}, init_rule::normal(1.0 / std::sqrt(static_cast<double>(config_.dim))), decay::no);
    if constexpr (learned_noise) v.add(noise_weight_, "noise_weight", {config_.experts, config_.dim}, init_rule::zeros(), decay::no);
    if constexpr (Balance::has_bias) {
      v.add_state(bias_, "bias", config_.experts, 0.0f);
      v.add_state(load_, "load", config_.experts, 0.0f);
    }
    v.add_derived(packed_, logits_.packed_bytes() * 2);
    v.add_derived(packed_back_, back_.packed_bytes() * 2);
    v.add_stream(noise_stream_, "noise");
  }

  /// Slots the largest call can need.
  index max_slots(index units) const {
    if (units == 0) return 0;
    const index E = config_.experts, group = group_of(units), G = ceil_div(units, group);
    if constexpr (all_experts) return checked_mul(E, units, "routing: slots");
    const index choices = checked_mul(units, Router::k, "routing: slots"), extra = has_fallback ? units : 0;
    if (!config_.padded) return choices + extra;
    return checked_mul(E * G, capacity_bound(group), "routing: slots") + (has_fallback ? G * group : 0);
  }

  saved bind(binder<Backend>& b, index max_units) const {
    saved s;
    const index E = config_.experts, E1 = plan_experts(), K = all_experts ? 1 : Router::k;
    const index slots = max_slots(max_units);
    require(checked_mul(max_units, K, "routing") < (index{1} << 31) && slots < (index{1} << 31) && max_units * E < (index{1} << 40),
            "routing: ", max_units, " units with ", slots, " slots exceed the 32-bit ids of a plan (2147483647)");
    const index group = max_units ? group_of(max_units) : 1;
    // A call may have fewer units than the largest one, so the number of groups is bounded by both.
    const index G = config_.group_size ? ceil_div(max_units, group) : 1;
    require(E1 * G < (index{1} << 31), "routing: ", E1, " experts in ", G, " groups are ", E1 * G,
            " runs, which exceeds the 32-bit ids of a plan (2147483647)");
    const index tiles = G * ceil_div(group, detail::route_tile);
    s.max_units = max_units;
    sparse_plan<C>& p = s.plan;
    p.layout = all_experts ? plan_layout::identity : (config_.padded ? plan_layout::padded : plan_layout::packed);
    p.experts = static_cast<int>(E), p.all_experts = static_cast<int>(E1);
    p.k = static_cast<int>(all_experts ? E : K), p.max_slots = static_cast<int>(slots);
    p.begin = b.saved.template take_raw<int>(E1 + 1);
    p.count = b.saved.template take_raw<int>(E1 * G);
    p.run_begin = b.saved.template take_raw<int>(E1 * G);
    if (!all_experts) {
      p.token = b.saved.template take_raw<int>(slots);
      p.slot_of = b.saved.template take_raw<int>(max_units * K);
      p.expert_of = b.saved.template take_raw<int>(max_units * K);
      s.place.wish = b.saved.template take_raw<int>(max_units * K);
      s.place.position = b.saved.template take_raw<int>(max_units * K);
      s.place.order = b.saved.template take_raw<priority_key>(max_units * K);
      s.place.pending = b.saved.template take_raw<int>(max_units * K);
      s.place.proposed = b.saved.template take_raw<int>(max_units * K * Capacity::overflow_policy::rounds);
    }
    if (has_fallback) p.fallback_slot = b.saved.template take_raw<int>(max_units);
    p.gate = b.saved.template take<C>(1, slots);
    s.d_gate = b.saved.template take<C>(1, slots);
    if (has_skip) p.skip = b.saved.template take<C>(1, max_units), s.d_skip = b.saved.template take<C>(1, max_units);
    p.bad = b.saved.template take_raw<unsigned char>(max_units);
    p.bad_count = b.saved.template take_raw<int>(1);
    s.logits = b.saved.template take<C>(max_units, E);
    if (learned_noise) s.raw = b.saved.template take<C>(max_units, E);
    s.scores = b.saved.template take<C>(max_units, E);
    if (has_noise<Router, row<scalar_group, 8, C>>) s.noisy = b.saved.template take<C>(max_units, E);
    constexpr index columns = Balance::columns;
    s.partial = b.saved.template take<C>(tiles, columns * E);
    s.totals = b.saved.template take<C>(G, columns * E);
    s.cotangents = b.saved.template take<C>(G, columns * E);
    s.values = b.saved.template take<C>(1, Balance::terms + 1);
    s.work = b.saved.template take_raw<C>(2 * columns * E);
    s.tile_stats = b.saved.template take_raw<double>(tiles * (E + 2));
    s.stats.gate_mass = b.saved.template take_raw<double>(E);
    s.stats.wished = b.saved.template take_raw<index>(E);
    s.stats.served = b.saved.template take_raw<index>(E);
    s.d_logits = b.saved.template take<C>(max_units, E);
    if (learned_noise) s.d_raw = b.saved.template take<C>(max_units, E);
    s.pieces = b.saved.template take<C>(pieces(max_units), E * config_.dim);
    const auto need = [&](std::size_t library) {
      b.need_worker(library + row_buffer_bytes());
    };
    b.need_worker(logits_.worker_bytes()), need(back_.worker_bytes()), need(outer_.worker_bytes());
    return s;
  }

  void refresh(context<Backend>& c) {
    worker w = c.stream.at(0);
    logits_.pack(weight_.value, packed_, w);
    back_.pack(weight_.value, false, packed_back_, w);
    if constexpr (learned_noise) {
      logits_.pack(noise_weight_.value, packed_ + logits_.packed_bytes(), w);
      back_.pack(noise_weight_.value, false, packed_back_ + back_.packed_bytes(), w);
    }
  }

  /// r [T, D_r]; afterwards s.plan, s.stats and s.values describe the call.
  void forward(context<Backend>& c, view<const T> r, saved& s) const {
    require(r.cols == config_.dim, "routing: input is ", shape_text(r), ", the router was built for dim ", config_.dim);
    require(r.rows <= s.max_units, "routing: ", r.rows, " units, memory was bound for ", s.max_units);
    s.input = r;
    shape_plan(c, s, r.rows);
    const step_state step = c.step ? *c.step : step_state{};
    require(step.temperature > 0 && math::is_finite(1.0f / step.temperature), "routing: temperature is ", step.temperature,
            ", it must be positive");
    s.route.inverse_temperature = 1.0f / step.temperature;
    s.route.noise = c.training() ? step.noise : 0.0f;
    s.route.draw = c.draw(noise_stream_);
    s.route.bias = Balance::has_bias ? bias_ : nullptr;
    s.balanced = c.training() && r.rows > 0;
    s.balance_scale = step.balance;
    multiply_rows(c, r, packed_, s.logits);
    if constexpr (learned_noise) multiply_rows(c, r, packed_ + logits_.packed_bytes(), s.raw);
    route_rows(c.stream, config_.router, config_.balance, s);
    if constexpr (!all_experts) {
      place<Capacity>(c.stream, s.plan, s.scores, s.place);
    } else {
      for (int e = 0; e <= s.plan.all_experts; ++e) s.plan.begin[e] = e * s.plan.tokens;
    }
    route_statistics<Router>(s);
    route_weights<Router>(c.stream, config_.combine, s);
    if constexpr (Balance::has_bias)
      if (c.training())
        for (index e = 0; e < config_.experts; ++e) load_[e] += static_cast<float>(s.stats.wished[e]);
  }

  /// Clears d_gate; every apply that used the plan then adds to it.
  void open_backward(context<Backend>& c, saved& s) const {
    (void)c;
    const auto clear = [](view<C> v, index n) {
      for (int i = 0; i < view<C>::planes; ++i)
        if (v.ptr[i]) std::fill_n(v.ptr[i], n, real_t<C>(0));
    };
    clear(s.d_gate, s.plan.max_slots), clear(s.d_skip, s.plan.tokens);
  }

  /// Uses d_gate; router gradients +=; dr = (or += when `accumulate`); dr may be empty.
  void backward(context<Backend>& c, view<T> dr, saved& s, bool accumulate = false) const {
    require(!dr.ptr[0] || (dr.rows == s.plan.tokens && dr.cols == config_.dim), "routing: dr is ", shape_text(dr),
            ", the router input was ", shape_text(s.input));
    route_rows_backward(c.stream, config_.router, config_.balance, config_.combine, s, s.d_logits, s.d_raw);
    weight_gradient(c, s, s.d_logits, weight_.grad);
    if constexpr (learned_noise) weight_gradient(c, s, s.d_raw, noise_weight_.grad);
    if (!dr.ptr[0]) return;
    input_gradient(c, s, s.d_logits, packed_back_, dr, accumulate);
    if constexpr (learned_noise) input_gradient(c, s, s.d_raw, packed_back_ + back_.packed_bytes(), dr, true);
  }

  /// Once per optimiser step: moves the loss-free bias towards balance and clears its accumulators.
  void commit(context<Backend>& c) {
    (void)c;
    if constexpr (Balance::has_bias) {
      // Loads are whole numbers: E * load is compared with their sum, so that equal loads leave the bias alone.
      double sum = 0;
      for (index e = 0; e < config_.experts; ++e) sum += static_cast<double>(load_[e]);
      const float rate = config_.balance.bias_rate();
      for (index e = 0; e < config_.experts; ++e) {
        const double load = static_cast<double>(load_[e]) * static_cast<double>(config_.experts);
        bias_[e] += load < sum ? rate : (load > sum ? -rate : 0.0f);
        load_[e] = 0;
      }
    }
  }

  static constexpr cost count(const config& c, index units) {
    const index one = c.dim * c.experts * (learned_noise ? 2 : 1);
    return {one, one, one * units, 0};
  }

 private:
  using Plain = planar_product<C, Maths>;
  /// Before anything is built from the numbers.
  static const config& checked(const config& c) {
    require(c.dim >= 1, "routing: dim is ", c.dim, ", it must be at least 1");
    require(c.experts >= 1, "routing: experts is ", c.experts, ", it must be at least 1");
    require(c.experts <= max_experts, "routing: experts is ", c.experts, ", the largest supported number is ", max_experts);
    require(all_experts || Router::k <= c.experts, "routing: the router takes K = ", Router::k, " experts per unit, there are only ", c.experts);
    require(c.group_size >= 0, "routing: group_size is ", c.group_size, ", it must not be negative");
    if constexpr (requires { c.capacity.validate(); }) c.capacity.validate();
    return c;
  }
  static constexpr index piece_rows = 2048;

  index group_of(index units) const { return config_.group_size ? std::min(config_.group_size, std::max<index>(units, 1)) : std::max<index>(units, 1); }
  static index pieces(index units) { return std::clamp<index>(ceil_div(units, piece_rows), 1, 16); }
  index capacity_bound(index group) const {
    const capacity_query train{group, config_.experts, all_experts ? config_.experts : Router::k, true};
    capacity_query eval = train;
    eval.training = false;
    return std::max(config_.capacity.slots(train), config_.capacity.slots(eval));
  }
  std::size_t row_buffer_bytes() const {
    return static_cast<std::size_t>(round_up(256 * config_.dim * static_cast<index>(sizeof(real_t<C>)) * view<C>::planes, 64)) * 1;
  }

  void shape_plan(context<Backend>& c, saved& s, index units) const {
    sparse_plan<C>& p = s.plan;
    p.tokens = static_cast<int>(units);
    p.group_size = static_cast<int>(group_of(units));
    p.groups = static_cast<int>(units ? ceil_div(units, p.group_size) : 0);
    const capacity_query q{p.group_size, config_.experts, all_experts ? config_.experts : Router::k, c.training()};
    const index cap = Capacity::limited && !all_experts ? config_.capacity.slots(q) : p.group_size;
    require(!config_.padded || cap <= capacity_bound(group_of(s.max_units)), "routing: capacity ", cap, " exceeds the ",
            capacity_bound(group_of(s.max_units)), " slots the plan was bound for");
    p.capacity = static_cast<int>(cap);
  }

  /// At most 256 rows of the input as compute numbers; rows of bad units become zero when `mask` is given.
  view<const C> rows_as_compute(worker& w, view<const T> x, const unsigned char* mask) const {
    if constexpr (std::is_same_v<T, C>)
      if (!mask) return x;
    view<C> out;
    auto* base = reinterpret_cast<real_t<C>*>(w.scratch);
    for (int i = 0; i < view<C>::planes; ++i) out.ptr[i] = base + i * x.rows * x.cols;
    out.rows = x.rows, out.cols = x.cols, out.stride = x.cols;
    for (index t = 0; t < x.rows; ++t) {
      const bool bad = mask && mask[t];
      for (int i = 0; i < view<C>::planes; ++i) {
        const auto* from = x.row(t, i);
        auto* to = out.row(t, i);
        if (bad) std::fill_n(to, x.cols, real_t<C>(0));
        else if constexpr (std::is_same_v<T, C>) std::copy_n(from, x.cols, to);
        else polymoe::backend::widen(from, to, x.cols);
      }
    }
    return out;
  }
  worker library_worker(const worker& w) const {
    return {w.id, w.scratch + row_buffer_bytes(), w.bytes - row_buffer_bytes()};
  }

  void multiply_rows(context<Backend>& c, view<const T> x, const std::byte* packed, view<C> y) const {
    parallel_rows(c.stream, x.rows, 256, [&](index first, index n, worker& w) {
      logits_.run(w, x.rows_at(first, n), packed, y.rows_at(first, n));
    });
  }
  void input_gradient(context<Backend>& c, const saved& s, view<const C> d, const std::byte* packed, view<T> dr, bool add) const {
    parallel_rows(c.stream, s.plan.tokens, 256, [&](index first, index n, worker& w) {
      worker lib = library_worker(w);
      if constexpr (std::is_same_v<T, C>) {
        back_.run(lib, d.rows_at(first, n), packed, {}, dr.rows_at(first, n), add);
      } else {
        view<C> tile(reinterpret_cast<real_t<C>*>(w.scratch), n, dr.cols);
        back_.run(lib, d.rows_at(first, n), packed, {}, tile);
        for (index t = 0; t < n; ++t)
          for (index j = 0; j < dr.cols; ++j)
            dr.set(first + t, j, tile.get(t, j) + (add ? dr.get(first + t, j) : C(0)));
      }
    });
  }
  void weight_gradient(context<Backend>& c, saved& s, view<const C> d, view<M> grad) const {
    const index rows = s.plan.tokens, n = pieces(rows), per = round_up(ceil_div(std::max<index>(rows, 1), n), 256);
    const unsigned char* bad = *s.plan.bad_count > 0 ? s.plan.bad : nullptr;
    parallel_for(c.stream, n, [&](index piece, worker& w) {
      view<C> part = s.pieces.rows_at(piece, 1).reshaped(config_.experts, config_.dim);
      for (int i = 0; i < view<C>::planes; ++i) std::fill_n(part.ptr[i], part.size(), real_t<C>(0));
      worker lib = library_worker(w);
      for (index first = piece * per; first < std::min(rows, (piece + 1) * per); first += 256) {
        const index m = std::min({index{256}, rows - first, (piece + 1) * per - first});
        const view<const C> x = rows_as_compute(w, s.input.rows_at(first, m), bad ? bad + first : nullptr);
        for (index block = 0; block < outer_.blocks(); ++block) outer_.run(lib, block, d.rows_at(first, m), x, part);
      }
    });
    for (index e = 0; e < config_.experts; ++e)
      for (index j = 0; j < config_.dim; ++j) {
        C sum(0);
        for (index piece = 0; piece < n; ++piece) sum += s.pieces.get(piece, e * config_.dim + j);
        grad.add(e, j, sum);
      }
  }

  config config_;
  param<M> weight_, noise_weight_;
  float* bias_ = nullptr;
  float* load_ = nullptr;
  std::byte* packed_ = nullptr;
  std::byte* packed_back_ = nullptr;
  std::uint64_t noise_stream_ = 0;
  polymoe::backend::logits_product<T, Maths> logits_;
  Plain back_;
  planar_outer_product<C, Maths> outer_;
};

}  // namespace polymoe
