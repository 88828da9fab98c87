// any_layer<T, Backend>: a layer of experts behind one interface, whatever its spec: any_module, and what trainers and
// pages ask of layers of experts.
//
//   using layer = experiment::any_layer<float>;
//   using model = nn::mixed_vit<dense_mlp, nn::named<"moe", layer>>;
//   layer::config c = layer::of<polymoe::layer<Spec, polymoe::cpu>>(config);
#pragma once

#include <string>
#include <variant>
#include <vector>

#include <polymoe/analysis/routing_choices.hpp>
#include <polymoe/analysis/transport_costs.hpp>
#include <polymoe/layer/stats.hpp>
#include <polymoe/plan/dense_plan.hpp>
#include <polymoe/train/telemetry.hpp>

#include "any_module.hpp"

namespace experiment {

/// What any_layer asks of the layer inside.
template <class T, class B>
class held_layer : public held_module<T, B> {
 public:
  using C = polymoe::compute_t<T>;
  using typename held_module<T, B>::kept;
  /// What a trainer reads of a layer's memory: the number of experts of its plan and, where the backend's memory is not
  /// the host's, where it finds the statistics and balance losses of a call.
  struct routing_part {
    struct {
      polymoe::index experts = 0;
    } plan{};
    polymoe::routing_stats stats{};
    polymoe::routing_stats* on_device = nullptr;
    polymoe::view<C> values{};
  };
  struct plan_type {
    std::variant<polymoe::sparse_plan<C>, polymoe::owned_dense_plan<C>> of;
    friend void count_class_expert(const plan_type& p, const std::int32_t* labels, polymoe::index images,
                                   std::vector<double>& counts) {
      std::visit([&](const auto& plan) { polymoe::count_class_expert(plan, labels, images, counts); }, p.of);
    }
    template <class F>
    friend void each_served(const plan_type& p, int unit, F f) {
      std::visit([&](const auto& plan) { each_served(plan, unit, f); }, p.of);
    }
    friend void add_choices(const plan_type& p, polymoe::analysis::routing_choices& to) {
      std::visit([&](const auto& plan) { to.add(plan); }, p.of);
    }
  };

  virtual routing_part routing(const kept&) const = 0;
  virtual void commit(polymoe::context<B>&) = 0;
  virtual C balance_loss(polymoe::context<B>&, const kept&) const = 0;
  virtual polymoe::routing_stats stats(polymoe::context<B>&, const kept&) const = 0;
  virtual plan_type plan(polymoe::context<B>&, const kept&) const = 0;
  virtual std::vector<polymoe::analysis::solver_costs> transport(polymoe::context<B>&, const kept&) const = 0;
  virtual std::string describe() const = 0;
};

template <class Layer>
class layer_holder final : public module_holder<Layer, held_layer<typename Layer::scalar, typename Layer::backend>> {
  using T = typename Layer::scalar;
  using B = typename Layer::backend;
  using held = held_layer<T, B>;
  using base = module_holder<Layer, held>;
  using base::inner, base::own;
  using typename held::kept;

 public:
  using base::base;
  typename held::routing_part routing(const kept& k) const override {
    const auto& r = own(k).routing;
    typename held::routing_part part;
    part.plan.experts = r.plan.experts;
    if constexpr (!B::memory::on_host) part.stats = r.stats, part.on_device = r.on_device, part.values = r.values;
    return part;
  }
  void commit(polymoe::context<B>& c) override { inner.commit(c); }
  typename held::C balance_loss(polymoe::context<B>& c, const kept& s) const override {
    return inner.balance_loss(c, own(s));
  }
  polymoe::routing_stats stats(polymoe::context<B>& c, const kept& s) const override { return inner.stats(c, own(s)); }
  typename held::plan_type plan(polymoe::context<B>& c, const kept& s) const override {
    return {inner.plan(c, own(s))};
  }
  std::vector<polymoe::analysis::solver_costs> transport([[maybe_unused]] polymoe::context<B>& c,
                                                         [[maybe_unused]] const kept& s) const override {
    if constexpr (requires { requires polymoe::analysis::makes_transport_plans<typename Layer::spec::router>; }) {
      const auto& router = inner.router().settings().router;
      const auto plans = inner.plans(c, own(s));
      std::vector<polymoe::analysis::solver_costs> all{{"layer", polymoe::analysis::costs_of(router, plans)}};
      for (const auto& one : polymoe::analysis::compare_solvers(router, plans)) all.push_back(one);
      return all;
    } else {
      return {};
    }
  }
  std::string describe() const override {
    if constexpr (requires { inner.describe(); })
      return inner.describe();
    else
      return {};
  }
};

template <class T, class B = polymoe::cpu>
class any_layer : public any_module<T, B, held_layer<T, B>> {
  using held = held_layer<T, B>;
  using base = any_module<T, B, held>;

 public:
  using typename base::config;
  struct saved : base::saved {
    typename held::routing_part routing{};
  };

  /// The configuration of a `Layer`: layer<Spec, Backend> or routed_blocks<Spec>.
  template <class Layer>
  static config of(const typename Layer::config& c) {
    static_assert(std::is_same_v<T, typename Layer::scalar> && std::is_same_v<B, typename Layer::backend>,
                  "polymoe: any_layer<T, Backend> holds layers of the number type T on that backend");
    return base::template of<Layer, layer_holder<Layer>>(c);
  }
  using base::base;

  saved bind(polymoe::binder<B>& b, polymoe::index max_rows) const {
    saved s{base::bind(b, max_rows), {}};
    s.routing = this->held_->routing(*s.own);
    return s;
  }
  void commit(polymoe::context<B>& c) { this->held_->commit(c); }
  typename held::C balance_loss(polymoe::context<B>& c, const saved& s) const {
    return this->held_->balance_loss(c, *s.own);
  }
  polymoe::routing_stats stats(polymoe::context<B>& c, const saved& s) const { return this->held_->stats(c, *s.own); }
  typename held::plan_type plan(polymoe::context<B>& c, const saved& s) const { return this->held_->plan(c, *s.own); }
  /// What the transport plans of the last call cost: as the layer made them ("layer"), and as every solver makes them.
  /// Empty for routers without such plans.
  std::vector<polymoe::analysis::solver_costs> transport(polymoe::context<B>& c, const saved& s) const {
    return this->held_->transport(c, *s.own);
  }
  /// One line; empty where the layer has none.
  std::string describe() const { return this->held_->describe(); }
};

}  // namespace experiment
