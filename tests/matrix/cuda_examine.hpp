// One test body for every composition on CUDA: the layer, run by the host executor or on a GPU, against the CPU's in
// double, which examine.hpp compares with the dense expansion and with differences.  Parameters and inputs are numbers
// that the layer's type has, capacities bind and balance losses weigh, as there.
//
// Plans are compared apart.  Inputs are taken such that the reference decides the same for inputs that are a little
// off, so that rounding decides nothing; inputs that are too close to call are counted and others drawn.  Then the
// weights of the reference's plan take the place of the layer's own, and outputs and gradients are compared.  A second
// run, its blocks in another order and its memory somebody else's, has the same bits.
//
// A composition compiles its two layers and thin classes around them; the rest is compiled once, in
// cuda_examine_test.cpp.
#pragma once

#include <span>

#if !defined(__CUDACC__)
#include "executor/host_blaslt.hpp"
#endif
#include "executor/tensors.hpp"

#include <polymoe/backend/cuda/dispatch/sort.cuh>
#include <polymoe/cuda.cuh>

#include "examine.hpp"

namespace matrix {

/// What both layers start from.
struct given {
  index rows = 0, in = 0, out = 0;
  std::vector<double> x, dy, values, grads;
  std::vector<float> state;
  polymoe::step_state step;
};

/// What a call left behind, in double whatever it was computed in.
struct outcome {
  std::vector<int> decided;        ///< the plan's sizes and lists, one after the other
  std::vector<double> gate, skip;  ///< weights of slots and of units themselves; of plans of slots dispatch and combine
  std::vector<index> counts;       ///< statistics
  std::vector<double> means;
  double loss = 0;
  std::string violation;  ///< of a sparse plan's promises; empty is good
  std::vector<double> y, dx, grads;
  std::vector<float> state;
  friend bool operator==(const outcome&, const outcome&) = default;
};

/// How far a type may be from double, norm over norm.
struct precision {
  double apart = 0;    ///< by how much inputs are moved, and decide the same
  double weights = 0;  ///< of the plan
  double routing = 0;  ///< losses, statistics, state
  double output = 0, gradient = 0;
};

/// A layer on CUDA behind a small interface.
class on_cuda {
 public:
  virtual ~on_cuda() = default;
  virtual precision bounds() const = 0;
  /// The nearest number that the layer's type has.
  virtual double rounded(double x) const = 0;
  /// Forward, backward and commit, with the weights of the reference's plan.  If the layer decides otherwise, no
  /// further than the plan.
  virtual outcome run(const given& g, const outcome& reference) = 0;
};

/// The reference's side.
class on_cpu {
 public:
  virtual ~on_cpu() = default;
  virtual const composition_facts& known() const = 0;
  virtual subject_in_double& layer() = 0;
  virtual tensor<double>& output() = 0;
  virtual tensor<double>& output_gradient() = 0;
  virtual void backward_onto() = 0;  ///< gradients are added to
  virtual void commit() = 0;
  virtual std::span<float> state() = 0;
  virtual const polymoe::step_state& step() = 0;
  virtual void read(outcome& o) = 0;  ///< plan, statistics, loss
};

/// The test body.
void examine_on_cuda(on_cpu& reference, on_cuda& d);

namespace detail {

template <class C>
void read_plan(const polymoe::sparse_plan<C>& p, outcome& o) {
  const auto add = [&](const auto* from, index n) {
    if (from) o.decided.insert(o.decided.end(), from, from + n);
  };
  const bool copies = p.layout != polymoe::plan_layout::identity;
  const index runs = index{p.all_experts} * p.groups, used = copies ? p.begin[p.all_experts] : p.max_slots;
  o.decided = {p.tokens, p.groups, p.group_size, p.capacity, p.k};
  add(p.begin, p.all_experts + 1), add(p.bad, p.tokens);
  if (copies) {
    add(p.count, runs), add(p.run_begin, runs), add(p.token, used);
    add(p.slots_begin, p.tokens + 1), add(p.fallback_slot, p.tokens);
    add(p.slot_of, p.slots_begin ? p.slots_begin[p.tokens] : index{p.tokens} * p.k);
    add(p.expert_of, index{p.tokens} * p.k);
  }
  // Nobody asks for the weight of an empty slot.
  for (index s = 0; s < used; ++s)
    o.gate.push_back(copies && p.token[s] < 0 ? 0.0 : static_cast<double>(p.gate.get(0, s)));
  for (index t = 0; p.skip.ptr[0] && t < p.tokens; ++t) o.skip.push_back(static_cast<double>(p.skip.get(0, t)));
  if (copies) o.violation = polymoe::plan_violation(p);
}
template <class C>
void read_plan(const polymoe::dense_plan<C>& p, outcome& o) {
  o.decided = {p.tokens, p.groups, p.group_size, p.capacity};
  for (index t = 0; t < p.dispatch.rows; ++t)
    for (index s = 0; s < p.dispatch.cols; ++s) {
      o.gate.push_back(static_cast<double>(p.dispatch.get(t, s)));
      o.skip.push_back(static_cast<double>(p.combine.get(t, s)));
    }
}
inline void read_stats(const polymoe::routing_stats& s, outcome& o) {
  o.counts = {s.experts,  s.units,    s.choices,       s.placed,       s.moved,  s.overflow,
              s.bad_rows, s.unpicked, s.least_experts, s.most_experts, s.mixture};
  o.counts.insert(o.counts.end(), s.served, s.served + s.experts);
  o.means = {s.entropy, s.margin};
  o.means.insert(o.means.end(), s.gate_mass, s.gate_mass + s.experts);
}

/// What does not depend on the layer.
template <class T>
class layer_on_cuda : public on_cuda {
 public:
  using C = polymoe::compute_t<T>;
  using M = polymoe::master_t<T>;
  using matrix_of_t = polymoe::executor_test::tensor<T>;

  precision bounds() const override {
    if constexpr (std::is_same_v<T, double>)
      return {1e-10, 1e-12, 1e-12, 1e-12, 1e-12};
    else if constexpr (std::is_same_v<T, float>)
      return {1e-4, 1e-5, 1e-5, 1e-5, 1e-5};
    else if (router_sees_means())
      return {4e-3, 2e-3, 2e-3, 1.2e-2, 3e-2};
    else if (mixes_units())  // matrices that a product of bf16 takes: each weight is rounded once
      return {1e-4, 2e-3, 1e-5, 1.2e-2, 3e-2};
    else
      return {1e-4, 1e-5, 1e-5, 1.2e-2, 3e-2};
  }
  double rounded(double x) const override { return polymoe::executor_test::number(as_t(x)); }
  outcome run(const given& g, const outcome& reference) override {
    const parts m = memory();
    const auto stream = m.c->stream.handle;
    const auto upload = [&](auto to, const auto& from) {
      polymoe::device::upload(to, from.data(), from.size() * sizeof(from[0]), stream);
    };
    matrix_of_t x(g.rows, g.in), dy(g.rows, g.out), y(g.rows, g.out), dx(g.rows, g.in);
    x.put(in_t(g.x)), dy.put(in_t(g.dy));
    REQUIRE(static_cast<std::size_t>(m.values.cols) == g.values.size());
    REQUIRE(m.state.size() == g.state.size());
    upload(m.values.ptr[0], std::vector<M>(g.values.begin(), g.values.end()));
    upload(m.grads.ptr[0], std::vector<M>(g.grads.begin(), g.grads.end()));
    upload(m.state.data(), g.state);
    *m.step = g.step;
    refresh();
    forward(x, y);
    outcome o;
    read(o);
    if (o.decided != reference.decided) return o;
    if (polymoe::sparse_plan<C>* p = plan()) {
      upload(p->gate.ptr[0], std::vector<C>(reference.gate.begin(), reference.gate.end()));
      if (p->skip.ptr[0]) upload(p->skip.ptr[0], std::vector<C>(reference.skip.begin(), reference.skip.end()));
      y = matrix_of_t(g.rows, g.out);
      m.c->keep_plans = true;
      forward(x, y);
      m.c->keep_plans = false;
    }
    backward(dy, dx);
    commit();
    polymoe::device::wait(stream);
    o.y = in_double_numbers(y.host()), o.dx = in_double_numbers(dx.host());
    std::vector<M> grads(g.grads.size());
    polymoe::device::download(grads.data(), m.grads.ptr[0], grads.size() * sizeof(M), stream);
    o.grads = in_double_numbers(grads);
    o.state.resize(g.state.size());
    polymoe::device::download(o.state.data(), m.state.data(), o.state.size() * sizeof(float), stream);
    return o;
  }

 protected:
  struct parts {
    polymoe::context<polymoe::cuda>* c;
    polymoe::step_state* step;
    view<M> values, grads;
    std::span<float> state;
  };
  virtual parts memory() = 0;
  virtual void refresh() = 0;
  virtual void forward(view<const T> x, view<T> y) = 0;
  virtual void backward(view<const T> dy, view<T> dx) = 0;
  virtual void commit() = 0;
  virtual void read(outcome& o) = 0;            ///< plan, statistics, loss
  virtual polymoe::sparse_plan<C>* plan() = 0;  ///< in the layer's memory; null where units are mixed
  virtual bool mixes_units() const = 0;         ///< its plan is dense
  virtual bool router_sees_means() const = 0;   ///< of rows, numbers of type T again

 private:
  static T as_t(double x) {
    T to{};
    polymoe::store(to, static_cast<C>(x));
    return to;
  }
  static std::vector<T> in_t(const std::vector<double>& v) {
    std::vector<T> to;
    for (const double x : v) to.push_back(as_t(x));
    return to;
  }
  template <class N>
  static std::vector<double> in_double_numbers(const std::vector<N>& v) {
    std::vector<double> to;
    for (const N& x : v) to.push_back(polymoe::executor_test::number(x));
    return to;
  }
};

template <class Spec>
class composition_on_cuda : public layer_on_cuda<typename Spec::scalar> {
 public:
  using base = layer_on_cuda<typename Spec::scalar>;
  using T = typename Spec::scalar;
  using Layer = polymoe::layer<Spec, polymoe::cuda>;

  /// As many units as the reference has, its seed, its experts of units.
  composition_on_cuda(index units, const polymoe::workspace_options& o, const std::vector<int>& table)
      : table_(on_device(table)), w_(Layer(config_of<Layer>(units, static_cast<const int*>(table_.data()))), o) {
    w_.ctx().targets = static_cast<const int*>(table_.data());
  }

 private:
  typename base::parts memory() override { return {&w_.ctx(), &w_.step(), w_.values(), w_.grads(), w_.state()}; }
  void refresh() override { w_.refresh(); }
  void forward(view<const T> x, view<T> y) override { w_.forward(x, y); }
  void backward(view<const T> dy, view<T> dx) override { w_.backward(dy, dx); }
  void commit() override { w_.module().commit(w_.ctx()); }
  void read(outcome& o) override {
    read_plan(w_.module().plan(w_.ctx(), w_.saved()), o);
    read_stats(w_.module().stats(w_.ctx(), w_.saved()), o);
    o.loss = static_cast<double>(w_.module().balance_loss(w_.ctx(), w_.saved()));
  }
  polymoe::sparse_plan<typename base::C>* plan() override {
    if constexpr (Spec::router::k == polymoe::mixed_into_slots)
      return nullptr;
    else
      return &w_.saved().routing.plan;
  }
  bool mixes_units() const override { return Spec::router::k == polymoe::mixed_into_slots; }
  bool router_sees_means() const override { return std::is_same_v<typename Spec::unit, unit::image<unit::mean>>; }
  static polymoe::backend::device_block on_device(const std::vector<int>& v) {
    polymoe::backend::device_block b(v.size() * sizeof(int));
    polymoe::device::upload(b.data(), v.data(), b.size(), nullptr);
    return b;
  }

  polymoe::backend::device_block table_;
  polymoe::workspace<Layer> w_;
};

template <class Spec>
struct in_double : Spec {
  using scalar = double;
};
template <class Spec>
class composition_on_cpu final : public on_cpu, public double_subject<in_double<Spec>> {
 public:
  using base = double_subject<in_double<Spec>>;
  using base::c, base::facts;

  composition_on_cpu() { c.w.step().step = 3, c.w.step().micro = 1; }
  const composition_facts& known() const override { return facts; }
  subject_in_double& layer() override { return *this; }
  tensor<double>& output() override { return c.y; }
  tensor<double>& output_gradient() override { return c.dy; }
  void backward_onto() override { c.w.backward(c.dy.get(), c.dx.get()); }
  void commit() override { c.w.module().commit(c.w.ctx()); }
  std::span<float> state() override { return c.w.state(); }
  const polymoe::step_state& step() override { return c.w.step(); }
  void read(outcome& o) override {
    read_plan(c.plan(), o);
    read_stats(c.w.module().stats(c.w.ctx(), c.w.saved()), o);
    o.loss = c.w.module().balance_loss(c.w.ctx(), c.w.saved());
  }
  composition_on_cuda<Spec> on_other_backend() const { return {base::units, c.w.options(), base::table_}; }
};

template <class Spec>
void examine_one_on_cuda() {
  INFO(text_of_numbers(Spec::numbers));
  composition_on_cpu<Spec> reference;
  auto layer = reference.on_other_backend();
  examine_on_cuda(reference, layer);
}

}  // namespace detail

/// Examines the elements of a tuple of specs (the last element, void, is no spec).
template <class List>
void cuda_examine_all() {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (detail::examine_one_on_cuda<std::tuple_element_t<I, List>>(), ...);
  }
  (std::make_index_sequence<std::tuple_size_v<List> - 1>{});
}

}  // namespace matrix
