// any_module<T, Backend>: a dense module that keeps rows, behind one interface, as any_layer is for layers of experts:
// a network around it is compiled once, whatever its dense blocks are.
#pragma once

#include <functional>
#include <memory>

#include <polymoe/nn/module.hpp>

namespace experiment {

template <class T, class B = polymoe::cpu>
class any_module {
  using M = polymoe::master_t<T>;
  using index = polymoe::index;
  template <class V>
  using view = polymoe::view<V>;

  struct kept {
    virtual ~kept() = default;
  };
  struct held {
    virtual ~held() = default;
    virtual index in_cols() const = 0;
    virtual index out_cols() const = 0;
    virtual void visit(polymoe::visitor<M>&) = 0;
    virtual std::unique_ptr<kept> bind(polymoe::binder<B>&, index max_rows) const = 0;
    virtual void refresh(polymoe::context<B>&) = 0;
    virtual void forward(polymoe::context<B>&, view<const T> x, view<T> y, kept&) const = 0;
    virtual void backward(polymoe::context<B>&, view<const T> dy, view<T> dx, kept&) const = 0;
  };
  template <class Module>
  struct holder final : held {
    static_assert(std::is_same_v<T, typename Module::scalar> && std::is_same_v<B, typename Module::backend>,
                  "polymoe: any_module<T, Backend> holds modules of the number type T on that backend");
    struct memory final : kept {
      explicit memory(typename Module::saved s) : of(std::move(s)) {}
      typename Module::saved of;
    };
    static typename Module::saved& own(kept& k) { return static_cast<memory&>(k).of; }

    explicit holder(const typename Module::config& c) : inner(c) {}
    index in_cols() const override { return inner.in_cols(); }
    index out_cols() const override { return inner.out_cols(); }
    void visit(polymoe::visitor<M>& v) override { inner.visit(v); }
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
  };

 public:
  using scalar = T;
  using backend = B;
  struct config {
    std::function<std::unique_ptr<held>()> make{};
    std::function<polymoe::cost(index rows)> count{};
  };
  struct saved {
    std::unique_ptr<kept> own{};
  };

  /// The configuration of a `Module`.
  template <class Module>
  static config of(const typename Module::config& c) {
    return {[c] { return std::unique_ptr<held>(std::make_unique<holder<Module>>(c)); },
            [c](index rows) { return Module::count(c, rows); }};
  }
  explicit any_module(const config& c) : held_(c.make()) {}

  index in_cols() const { return held_->in_cols(); }
  index out_cols() const { return held_->out_cols(); }
  void visit(polymoe::visitor<M>& v) { held_->visit(v); }
  saved bind(polymoe::binder<B>& b, index max_rows) const { return {held_->bind(b, max_rows)}; }
  void refresh(polymoe::context<B>& c) { held_->refresh(c); }
  void forward(polymoe::context<B>& c, view<const T> x, view<T> y, saved& s) const { held_->forward(c, x, y, *s.own); }
  void backward(polymoe::context<B>& c, view<const T> dy, view<T> dx, saved& s) const {
    held_->backward(c, dy, dx, *s.own);
  }
  static polymoe::cost count(const config& c, index rows) { return c.count(rows); }

 private:
  std::unique_ptr<held> held_;
};

}  // namespace experiment
