// What the tests of whole CUDA layers share: one layer on the CPU backend and on CUDA, same parameters and input, with
// everything a caller can see compared.  The source runs under the host executor and on a GPU.
#pragma once

#if !defined(__CUDACC__)
#include "host_blaslt.hpp"
#endif
#include "support/recipe.hpp"
#include "tensors.hpp"

#include <polymoe/backend/cuda/dispatch/sort.cuh>
#include <polymoe/cuda.cuh>
#include <polymoe/plan/invariants.hpp>

namespace layer_test {

using polymoe::bf16;
using polymoe::compute_t;
using polymoe::cpu;
using polymoe::cuda;
using polymoe::index;
using polymoe::master_t;
using polymoe::run_mode;
using polymoe::view;
using polymoe::executor_test::distance;
using polymoe::executor_test::not_finite;
using polymoe::executor_test::same_bits;
using polymoe::executor_test::tensor;

/// One case.
struct setup {
  index units = 65, experts = 6, dim = 24, hidden = 40, classes = 0, unit_rows = 1, group_size = 0;
  bool padded = false, with_bad = false, shift_load = false;
  float factor = 1.0f;
  run_mode mode = run_mode::train;
  std::uint64_t seed = 1;
  index max_units = 0;  ///< units memory is bound for; 0: as many as there are
  index slots = 1;      ///< of an expert, Soft MoE
  double dropout = 0;   ///< of the experts' hidden rows
  float logit_noise = 0;  ///< its deviation, Soft MoE
  bool may_tie = false; ///< large cases may hold scores that are equal to rounding, and then choices that differ
};

/// Few experts: fewer kernels to compile.
template <class T = float>
struct small_spec : polymoe::spec {
  using scalar = T;
  static constexpr int most_experts = 32;
};
template <class T, class Expert = polymoe::expert::mlp<>, class Save = polymoe::save::everything>
struct expert_spec : polymoe::spec {
  using scalar = T;
  using expert = Expert;
  using save = Save;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
  static constexpr int most_experts = 32;
};

/// What a layer left behind.
template <class T>
struct outcome {
  std::vector<T> y, dx;
  std::vector<master_t<T>> grads;
  std::vector<float> state;
};

template <class Spec>
class both {
 public:
  using T = typename Spec::scalar;
  using C = compute_t<T>;
  using M = master_t<T>;
  using Cpu = polymoe::layer<Spec, cpu>;
  using Cuda = polymoe::layer<Spec, cuda>;
  static constexpr bool mixes = Spec::router::k == polymoe::mixed_into_slots;
  static constexpr bool mixture = Spec::router::k == polymoe::every_expert || mixes;  ///< nothing is chosen
  static constexpr bool picked = Spec::router::k == polymoe::picked_by_experts;
  /// Relative to the norm; a spec whose products round has its own.
  static constexpr double tolerance = [] {
    if constexpr (requires { Spec::tolerance; }) return Spec::tolerance;
    else return std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 1e-5 : 1.2e-2;
  }();

  explicit both(const setup& s)
      : s_(s),
        rows_(s.units * s.unit_rows),
        host_(Cpu(config<Cpu>(s)), {.max_rows = bound(), .seed = s.seed}),
        device_(Cuda(config<Cuda>(s)), {.max_rows = bound(), .seed = s.seed}),
        x_(rows_, s.dim),
        dy_(rows_, host_.module().out_cols()) {
    INFO(host_.module().describe(), ", units ", s.units, " x ", s.unit_rows, ", seed ", s.seed);
    CHECK(host_.entries().size() == device_.entries().size());
    if (bound() > 0) {
      CHECK(recipe_test::recipe_lie(host_) == "");
      CHECK(recipe_test::recipe_lie(device_) == "");
    }
    fill();
    run_host();
    outcome<T> first = run_device();
    compare(first);
    // The same bits again, in another order of blocks, from memory somebody else has used.
    const outcome<T> again = run_device();
    CHECK(same_bits(first.y, again.y));
    CHECK(same_bits(first.dx, again.dx));
    CHECK(same_bits(first.grads, again.grads));
    CHECK(same_bits(first.state, again.state));
  }

  polymoe::workspace<Cpu>& host() { return host_; }
  polymoe::workspace<Cuda>& device() { return device_; }
  index dropped = 0, moved = 0, overflow = 0;
  double largest_error = 0;  ///< of the output

 private:
  setup s_;
  index rows_;
  polymoe::workspace<Cpu> host_;
  polymoe::workspace<Cuda> device_;
  std::vector<T> x_host_, dy_host_;
  tensor<T> x_, dy_;
  std::vector<M> start_grads_;
  std::vector<float> start_state_;
  std::vector<int> host_targets_;
  polymoe::backend::device_block targets_;
  outcome<T> want_;

  index bound() const { return (s_.max_units ? s_.max_units : s_.units) * s_.unit_rows; }
  template <class Layer>
  static typename Layer::config config(const setup& s) {
    typename Layer::config c;
    c.dim = s.dim, c.hidden = s.hidden, c.experts = s.experts, c.classes = s.classes, c.unit_rows = s.unit_rows;
    c.group_size = s.group_size, c.padded = s.padded, c.expert_dropout = s.dropout;
    if constexpr (requires { c.capacity.factor; }) c.capacity.factor = s.factor;
    if constexpr (mixes) c.router.slots = s.slots, c.router.noise_std = s.logit_noise;
    return c;
  }

  void fill() {
    x_host_.resize(static_cast<std::size_t>(x_.v.size())), dy_host_.resize(static_cast<std::size_t>(dy_.v.size()));
    const auto draw = polymoe::random_root{s_.seed}.stream(11, 0);
    std::uint64_t n = 0;
    const auto next = [&] { return static_cast<double>(draw.normal(n++)); };
    for (T& v : x_host_) polymoe::store(v, static_cast<C>(next()));
    for (T& v : dy_host_) polymoe::store(v, static_cast<C>(next()));
    if (s_.with_bad)
      for (index u = 2; u < s_.units; u += 17)
        polymoe::store(x_host_[static_cast<std::size_t>((u * s_.unit_rows + s_.unit_rows - 1) * s_.dim + 1)],
                       u % 2 ? C(__builtin_nanf("")) : C(__builtin_inff()));
    // The same parameters, biases and learned noise included, and gradients that are not empty.
    std::vector<M> values = host_.values_on_host();
    for (const auto& e : host_.entries())
      for (index i = 0; i < e.size; ++i)
        if (M& v = values[static_cast<std::size_t>(e.offset + i)]; v == M(0)) v = static_cast<M>(0.2 * next());
    host_.set_values(values), device_.set_values(values);
    start_grads_.resize(values.size(), M(0));
    for (const auto& e : host_.entries())
      for (index i = 0; i < e.size; ++i) start_grads_[static_cast<std::size_t>(e.offset + i)] = static_cast<M>(next());
    start_state_ = host_.state_on_host();
    if (s_.shift_load)
      for (float& v : start_state_) v = std::round(8 * static_cast<float>(next())) / 16;
    // Member by member: nvcc drops the names of a designated list here and takes the values in order.
    for (polymoe::step_state* step : {&host_.step(), &device_.step()})
      step->step = 3, step->micro = 1, step->temperature = 0.8f, step->noise = 0.7f, step->balance = 1.5f;
    host_.ctx().mode = device_.ctx().mode = s_.mode;
    if constexpr (polymoe::balance::as_sum<typename Spec::balance>::needs_target) {
      for (index u = 0; u < s_.units; ++u)
        host_targets_.push_back(u % 5 == 3 ? -1 : static_cast<int>(7 * u % s_.experts));
      targets_ = polymoe::backend::device_block(host_targets_.size() * sizeof(int));
      polymoe::device::upload(targets_.data(), host_targets_.data(), targets_.size(), nullptr);
      host_.ctx().targets = host_targets_.data(), device_.ctx().targets = static_cast<const int*>(targets_.data());
    }
    host_.refresh(), device_.refresh();
    x_.put(x_host_), dy_.put(dy_host_);
  }
  void run_host() {
    want_.y.assign(dy_host_.size(), T(0.0f)), want_.dx.assign(x_host_.size(), T(0.0f));
    std::copy(start_grads_.begin(), start_grads_.end(), host_.grads().ptr[0]);
    host_.set_state(start_state_);
    host_.forward(view<const T>(x_host_.data(), rows_, s_.dim), view<T>(want_.y.data(), rows_, dy_.v.cols));
    host_.backward(view<const T>(dy_host_.data(), rows_, dy_.v.cols), view<T>(want_.dx.data(), rows_, s_.dim));
    host_.module().commit(host_.ctx());
    want_.grads = host_.grads_on_host(), want_.state = host_.state_on_host();
  }
  outcome<T> run_device() {
    tensor<T> y(rows_, dy_.v.cols), dx(rows_, s_.dim);
    const auto& stream = device_.ctx().stream;
    polymoe::device::upload(device_.grads().ptr[0], start_grads_.data(), start_grads_.size() * sizeof(M),
                            stream.handle);
    device_.set_state(start_state_);
    device_.forward(x_, y);
    device_.backward(dy_, dx);
    device_.module().commit(device_.ctx());
    polymoe::device::wait(stream.handle);
    return {y.host(), dx.host(), device_.grads_on_host(), device_.state_on_host()};
  }
  /// Plans may differ where both have scores that are equal to rounding, and then nothing else can be compared.
  void too_close_to_call() {
    REQUIRE(s_.may_tie);
    if constexpr (picked) {
      REQUIRE(!std::is_same_v<T, double>);
      MESSAGE("picks were too close to call, the case is not compared further");
    } else if constexpr (!mixture) {
      REQUIRE(!std::is_same_v<T, double>);
      const auto& q = host_.saved().routing;
      const index K = q.plan.k, choices = index{q.plan.tokens} * K;
      std::vector<int> wish(static_cast<std::size_t>(choices));
      polymoe::device::download(wish.data(), device_.saved().routing.wish, wish.size() * sizeof(int),
                                device_.ctx().stream.handle);
      index other = 0;
      for (index c = 0; c < choices; ++c) {
        const int x = wish[static_cast<std::size_t>(c)], y = q.place.wish[c];
        if (x == y) continue;
        REQUIRE((x >= 0 && y >= 0));
        const C* scores = polymoe::selection_scores<typename Spec::router>(q).row(c / K);
        REQUIRE(std::abs(scores[x] - scores[y]) <= C(1e-5) * std::abs(scores[y]));
        ++other;
      }
      REQUIRE(other <= 1 + choices / 1000);
      REQUIRE(other > 0);  // places follow from wishes: they do not differ alone
      MESSAGE(other, " choices were too close to call, the case is not compared further");
    }
  }
  void compare(const outcome<T>& got) {
    auto p = device_.module().plan(device_.ctx(), device_.saved());
    const auto q = host_.module().plan(host_.ctx(), host_.saved());
    REQUIRE(p.tokens == q.tokens);
    if constexpr (!mixture) {
      CHECK(polymoe::plan_violation(p) == "");
      bool equal = true;
      for (index c = 0; c < index{q.tokens} * q.k; ++c) equal = equal && p.expert_of[c] == q.expert_of[c];
      const auto same = [](const int* x, const int* y, index n) { return std::equal(x, x + n, y); };
      if constexpr (picked) {
        equal = same(p.begin, q.begin, q.experts + 1) && same(p.token, q.token, q.begin[q.experts]) &&
                same(p.slots_begin, q.slots_begin, q.tokens + 1) && same(p.slot_of, q.slot_of, q.slots_begin[q.tokens]);
      }
      if (!equal) return too_close_to_call();
    }
    if constexpr (mixes) {
      const auto numbers = [](const auto& v) { return std::vector<C>(v.ptr[0], v.ptr[0] + v.size()); };
      CHECK(distance(numbers(p.dispatch), numbers(q.dispatch)) <= tolerance);
      CHECK(distance(numbers(p.combine), numbers(q.combine)) <= tolerance);
      CHECK(*p.bad_count == *q.bad_count);
    }
    const auto a = device_.module().stats(device_.ctx(), device_.saved());
    const auto b = host_.module().stats(host_.ctx(), host_.saved());
    CHECK((a.choices == b.choices && a.placed == b.placed && a.moved == b.moved && a.overflow == b.overflow));
    CHECK((a.bad_rows == b.bad_rows && a.units == b.units && a.experts == b.experts && a.mixture == b.mixture));
    CHECK((a.unpicked == b.unpicked && a.least_experts == b.least_experts && a.most_experts == b.most_experts));
    for (int e = 0; e < b.experts; ++e) CHECK(a.served[e] == b.served[e]);
    CHECK(a.entropy == doctest::Approx(b.entropy).epsilon(1e-4));
    if constexpr (mixes) {
      CHECK(a.margin == doctest::Approx(b.margin).epsilon(1e-4));
      for (int e = 0; e < b.experts; ++e) CHECK(a.gate_mass[e] == doctest::Approx(b.gate_mass[e]).epsilon(1e-4));
    }
    dropped = b.choices - b.placed - b.overflow, moved = b.moved, overflow = b.overflow;
    const double loss = static_cast<double>(device_.module().balance_loss(device_.ctx(), device_.saved()));
    CHECK(loss ==
          doctest::Approx(static_cast<double>(host_.module().balance_loss(host_.ctx(), host_.saved()))).epsilon(1e-4));
    largest_error = distance(got.y, want_.y, not_finite::in_both);
    CHECK(largest_error <= tolerance);
    CHECK(distance(got.dx, want_.dx, not_finite::in_both) <= tolerance);
    // Tensor by tensor, so that a wrong small one does not hide behind a large one.
    for (const auto& e : host_.entries()) {
      const auto part = [&](const std::vector<M>& v) {
        return std::vector<M>(v.begin() + e.offset, v.begin() + e.offset + e.size);
      };
      INFO(e.name);
      CHECK(distance(part(got.grads), part(want_.grads), not_finite::in_both) <= tolerance);
    }
    CHECK(same_bits(got.state, want_.state));
  }
};

#if !defined(__CUDACC__)  // only the executor counts launches
/// What describe() says of the router's launches, and of `sorts` sorts, against the launches of a training call: with
/// grid barriers, and on a device without cooperative launches.
template <class Spec>
void compare_launches(const std::string& sorts = "", index group_size = 0) {
  using Layer = polymoe::layer<Spec, cuda>;
  using T = typename Spec::scalar;
  constexpr index units = 70, dim = 16;
  typename Layer::config c;
  c.dim = dim, c.hidden = 8, c.experts = 6, c.group_size = group_size;
  std::string forward[2], backward, text;
  for (const bool cooperative : {true, false}) {
    polymoe::executor::settings limits;
    if (!cooperative) limits.blocks_per_multiprocessor = 0;
    const polymoe::executor::scope with(limits);
    polymoe::workspace<Layer> w(Layer(c), {.max_rows = units});
    const tensor<T> x(units, dim, 1);
    tensor<T> dx(units, dim);
    auto& saved = w.saved().routing;
    const auto launches = [](auto call) {
      const index before = polymoe::executor::launches();
      call();
      return std::to_string(polymoe::executor::launches() - before);
    };
    forward[cooperative] = launches([&] { w.module().router().forward(w.ctx(), x, saved); });
    w.module().router().open_backward(w.ctx(), saved);
    backward = launches([&] { w.module().router().backward(w.ctx(), dx, saved); });
    text = w.module().describe();
  }
  const std::string want = "router launches " + forward[1] + sorts + " forward (" + forward[0] + sorts +
                           " without grid barriers), " + backward + " backward";
  INFO(text);
  CHECK_MESSAGE(text.find(want) != text.npos, want);
}
#endif

}  // namespace layer_test
