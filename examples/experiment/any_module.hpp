// any_module<T, Backend>: a module that keeps rows behind one interface, whatever its type.
//
// With it in the place of a module the network around it is one type for all arms, so that the network, its trainer,
// evaluation and checkpoints are compiled once and not once an arm; an arm adds its module alone.  Names of parameters,
// draws and results are those of the module inside, bit for bit; a call costs one indirect jump more.  any_layer.hpp is
// the same for layers of experts, which answer more questions.
//
//   using block = experiment::any_module<float>;
//   block::config c = block::of<nn::conv_path<float>>(config);
#pragma once

#include <functional>
#include <memory>

#include <polymoe/nn/module.hpp>

namespace experiment {

/// What any_module asks of the module inside.
template <class T, class B>
class held_module {
 public:
  using scalar = T;
  using backend = B;
  using index = polymoe::index;
  template <class V>
  using view = polymoe::view<V>;
  /// What a call of the module keeps.
  struct kept {
    virtual ~kept() = default;
  };

  virtual ~held_module() = default;
  virtual index in_cols() const = 0;
  virtual index out_cols() const = 0;
  virtual void visit(polymoe::visitor<polymoe::master_t<T>>&) = 0;
  virtual std::unique_ptr<kept> bind(polymoe::binder<B>&, index max_rows) const = 0;
  virtual void refresh(polymoe::context<B>&) = 0;
  virtual void forward(polymoe::context<B>&, view<const T> x, view<T> y, kept&) const = 0;
  virtual void backward(polymoe::context<B>&, view<const T> dy, view<T> dx, kept&) const = 0;
};

/// A `Module` behind `Held`: held_module, or an interface with more functions, which what derives from this has.
template <class Module, class Held>
class module_holder : public Held {
  using T = typename Held::scalar;
  using B = typename Held::backend;
  using index = polymoe::index;
  template <class V>
  using view = polymoe::view<V>;
  static_assert(std::is_same_v<T, typename Module::scalar> && std::is_same_v<B, typename Module::backend>,
                "polymoe: any_module<T, Backend> holds modules of the number type T on that backend");

 public:
  using typename Held::kept;
  explicit module_holder(const typename Module::config& c) : inner(c) {}

  index in_cols() const override { return inner.in_cols(); }
  index out_cols() const override { return inner.out_cols(); }
  void visit(polymoe::visitor<polymoe::master_t<T>>& v) override { inner.visit(v); }
  std::unique_ptr<kept> bind(polymoe::binder<B>& b, index max_rows) const override {
    return std::make_unique<memory>(inner.bind(b, max_rows));
  }
  void refresh(polymoe::context<B>& c) override { inner.refresh(c); }
  void forward(polymoe::context<B>& c, view<const T> x, view<T> y, kept& s) const override {
    inner.forward(c, x, y, own(s));
  }
  void backward(polymoe::context<B>& c, view<const T> dy, view<T> dx, kept& s) const override {
    inner.backward(c, dy, dx, own(s));
  }

  Module inner;

 protected:
  static typename Module::saved& own(kept& k) { return static_cast<memory&>(k).of; }
  static const typename Module::saved& own(const kept& k) { return static_cast<const memory&>(k).of; }

 private:
  struct memory final : kept {
    explicit memory(typename Module::saved s) : of(std::move(s)) {}
    typename Module::saved of;
  };
};

template <class T, class B = polymoe::cpu, class Held = held_module<T, B>>
class any_module {
 public:
  using scalar = T;
  using backend = B;
  using index = polymoe::index;
  template <class V>
  using view = polymoe::view<V>;
  struct config {
    std::function<std::unique_ptr<Held>()> make{};
    std::function<polymoe::cost(index rows)> count{};
  };
  struct saved {
    std::unique_ptr<typename Held::kept> own{};  ///< what the module inside keeps
  };

  /// The configuration of a `Module`.
  template <class Module, class Holder = module_holder<Module, Held>>
  static config of(const typename Module::config& c) {
    return {[c] { return std::unique_ptr<Held>(std::make_unique<Holder>(c)); },
            [c](index rows) { return Module::count(c, rows); }};
  }
  /// The module inside, which has to be a `Module`.
  template <class Module>
  Module& as() {
    return dynamic_cast<module_holder<Module, Held>&>(*held_).inner;
  }

  explicit any_module(const config& c) : held_(c.make()) {}

  index in_cols() const { return held_->in_cols(); }
  index out_cols() const { return held_->out_cols(); }
  void visit(polymoe::visitor<polymoe::master_t<T>>& v) { held_->visit(v); }
  saved bind(polymoe::binder<B>& b, index max_rows) const { return {held_->bind(b, max_rows)}; }
  void refresh(polymoe::context<B>& c) { held_->refresh(c); }
  void forward(polymoe::context<B>& c, view<const T> x, view<T> y, saved& s) const { held_->forward(c, x, y, *s.own); }
  void backward(polymoe::context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    held_->backward(c, dy, dx, *s.own);
  }
  static polymoe::cost count(const config& c, index rows) { return c.count(rows); }

 protected:
  std::unique_ptr<Held> held_;
};

}  // namespace experiment
