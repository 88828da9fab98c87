// any_layer<T, Backend>: a layer of experts behind one interface, whatever its spec.
//
// With it in the place of layer<Spec, Backend> the network around the experts is one type for all arms, so that the
// network, its trainer, evaluation and checkpoints are compiled once and not once an arm; an arm adds its layer alone.
// Names of parameters, draws and results are those of the layer inside, bit for bit; a call costs one indirect jump
// more.
//
//   using layer = experiment::any_layer<float>;
//   using model = nn::mixed_vit<dense_mlp, nn::named<"moe", layer>>;
//   layer::config c = layer::of<polymoe::layer<Spec, polymoe::cpu>>(config);
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include <polymoe/analysis/routing_choices.hpp>
#include <polymoe/analysis/transport_costs.hpp>
#include <polymoe/layer/stats.hpp>
#include <polymoe/nn/module.hpp>
#include <polymoe/plan/dense_plan.hpp>
#include <polymoe/train/telemetry.hpp>

namespace experiment {

template <class T, class B = polymoe::cpu>
class any_layer {
  using C = polymoe::compute_t<T>;
  using M = polymoe::master_t<T>;
  using index = polymoe::index;
  template <class V>
  using view = polymoe::view<V>;

  struct kept {
    virtual ~kept() = default;
  };
  struct held;
  template <class Layer>
  struct holder;

 public:
  using scalar = T;
  using backend = B;
  struct config {
    std::function<std::unique_ptr<held>()> make{};
    std::function<polymoe::cost(index rows)> count{};
  };
  /// What a trainer reads of a layer's memory: the number of experts of its plan and, where the backend's memory is not
  /// the host's, where it finds the statistics and balance losses of a call.
  struct routing_part {
    struct {
      index experts = 0;
    } plan{};
    polymoe::routing_stats stats{};
    polymoe::routing_stats* on_device = nullptr;
    view<C> values{};
  };
  struct saved {
    std::unique_ptr<kept> own{};  ///< what the layer inside keeps
    routing_part routing{};
  };
  struct plan_type {
    std::variant<polymoe::sparse_plan<C>, polymoe::owned_dense_plan<C>> of;
    friend void count_class_expert(const plan_type& p, const std::int32_t* labels, index images,
                                   std::vector<double>& counts) {
      std::visit([&](const auto& plan) { polymoe::count_class_expert(plan, labels, images, counts); }, p.of);
    }
    friend void add_choices(const plan_type& p, polymoe::analysis::routing_choices& to) {
      std::visit([&](const auto& plan) { to.add(plan); }, p.of);
    }
  };

  /// The configuration of a `Layer`: layer<Spec, Backend> or routed_blocks<Spec>.
  template <class Layer>
  static config of(const typename Layer::config& c) {
    return {[c] { return std::unique_ptr<held>(std::make_unique<holder<Layer>>(c)); },
            [c](index rows) { return Layer::count(c, rows); }};
  }
  /// The layer inside, which has to be a `Layer`.
  template <class Layer>
  Layer& as() {
    return dynamic_cast<holder<Layer>&>(*held_).layer;
  }

  explicit any_layer(const config& c) : held_(c.make()) {}

  index in_cols() const { return held_->in_cols(); }
  index out_cols() const { return held_->out_cols(); }
  void visit(polymoe::visitor<M>& v) { held_->visit(v); }
  saved bind(polymoe::binder<B>& b, index max_rows) const {
    saved s;
    s.own = held_->bind(b, max_rows, s.routing);
    return s;
  }
  void refresh(polymoe::context<B>& c) { held_->refresh(c); }
  void forward(polymoe::context<B>& c, view<const T> x, view<T> y, saved& s) const {
    held_->forward(c, x, y, *s.own);
  }
  void backward(polymoe::context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    held_->backward(c, dy, dx, *s.own);
  }
  void commit(polymoe::context<B>& c) { held_->commit(c); }
  static polymoe::cost count(const config& c, index rows) { return c.count(rows); }

  C balance_loss(polymoe::context<B>& c, const saved& s) const { return held_->balance_loss(c, *s.own); }
  polymoe::routing_stats stats(polymoe::context<B>& c, const saved& s) const { return held_->stats(c, *s.own); }
  plan_type plan(polymoe::context<B>& c, const saved& s) const { return held_->plan(c, *s.own); }
  /// What the transport plans of the last call cost: as the layer made them ("layer"), and as every solver makes them.
  /// Empty for routers without such plans.
  std::vector<polymoe::analysis::solver_costs> transport(polymoe::context<B>& c, const saved& s) const {
    return held_->transport(c, *s.own);
  }
  /// One line; empty where the layer has none.
  std::string describe() const { return held_->describe(); }

 private:
  struct held {
    virtual ~held() = default;
    virtual index in_cols() const = 0;
    virtual index out_cols() const = 0;
    virtual void visit(polymoe::visitor<M>&) = 0;
    virtual std::unique_ptr<kept> bind(polymoe::binder<B>&, index max_rows, routing_part&) const = 0;
    virtual void refresh(polymoe::context<B>&) = 0;
    virtual void forward(polymoe::context<B>&, view<const T> x, view<T> y, kept&) const = 0;
    virtual void backward(polymoe::context<B>&, view<const T> dy, view<T> dx, kept&) const = 0;
    virtual void commit(polymoe::context<B>&) = 0;
    virtual C balance_loss(polymoe::context<B>&, const kept&) const = 0;
    virtual polymoe::routing_stats stats(polymoe::context<B>&, const kept&) const = 0;
    virtual plan_type plan(polymoe::context<B>&, const kept&) const = 0;
    virtual std::vector<polymoe::analysis::solver_costs> transport(polymoe::context<B>&, const kept&) const = 0;
    virtual std::string describe() const = 0;
  };
  template <class Layer>
  struct holder final : held {
    static_assert(std::is_same_v<T, typename Layer::scalar> && std::is_same_v<B, typename Layer::backend>,
                  "polymoe: any_layer<T, Backend> holds layers of the number type T on that backend");
    struct memory final : kept {
      explicit memory(typename Layer::saved s) : of(std::move(s)) {}
      typename Layer::saved of;
    };
    static typename Layer::saved& own(kept& k) { return static_cast<memory&>(k).of; }
    static const typename Layer::saved& own(const kept& k) { return static_cast<const memory&>(k).of; }

    explicit holder(const typename Layer::config& c) : layer(c) {}
    index in_cols() const override { return layer.in_cols(); }
    index out_cols() const override { return layer.out_cols(); }
    void visit(polymoe::visitor<M>& v) override { layer.visit(v); }
    std::unique_ptr<kept> bind(polymoe::binder<B>& b, index max_rows, routing_part& to) const override {
      auto k = std::make_unique<memory>(layer.bind(b, max_rows));
      const auto& r = k->of.routing;
      to.plan.experts = r.plan.experts;
      if constexpr (!B::memory::on_host) to.stats = r.stats, to.on_device = r.on_device, to.values = r.values;
      return k;
    }
    void refresh(polymoe::context<B>& c) override { layer.refresh(c); }
    void forward(polymoe::context<B>& c, view<const T> x, view<T> y, kept& s) const override {
      layer.forward(c, x, y, own(s));
    }
    void backward(polymoe::context<B>& c, view<const T> dy, view<T> dx, kept& s) const override {
      layer.backward(c, dy, dx, own(s));
    }
    void commit(polymoe::context<B>& c) override { layer.commit(c); }
    C balance_loss(polymoe::context<B>& c, const kept& s) const override { return layer.balance_loss(c, own(s)); }
    polymoe::routing_stats stats(polymoe::context<B>& c, const kept& s) const override {
      return layer.stats(c, own(s));
    }
    plan_type plan(polymoe::context<B>& c, const kept& s) const override { return {layer.plan(c, own(s))}; }
    std::vector<polymoe::analysis::solver_costs> transport([[maybe_unused]] polymoe::context<B>& c,
                                                           [[maybe_unused]] const kept& s) const override {
      if constexpr (requires { requires polymoe::analysis::makes_transport_plans<typename Layer::spec::router>; }) {
        const auto& router = layer.router().settings().router;
        const auto plans = layer.plans(c, own(s));
        std::vector<polymoe::analysis::solver_costs> all{{"layer", polymoe::analysis::costs_of(router, plans)}};
        for (const auto& one : polymoe::analysis::compare_solvers(router, plans)) all.push_back(one);
        return all;
      } else {
        return {};
      }
    }
    std::string describe() const override {
      if constexpr (requires { layer.describe(); })
        return layer.describe();
      else
        return {};
    }
    Layer layer;
  };

  std::unique_ptr<held> held_;
};

}  // namespace experiment
