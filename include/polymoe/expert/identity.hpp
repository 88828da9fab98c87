// expert::identity: y = x, no parameters.  For tests, for measuring routing alone, and as a "do nothing" expert.
#pragma once

#include "tiled.hpp"

namespace polymoe::inline v0 {
namespace detail {

template <class T, class Backend>
class identity_module {
 public:
  using scalar = T;
  using backend = Backend;
  struct saved {};

  identity_module() = default;
  explicit identity_module(expert_config c) {
    require(c.in == c.out, "expert identity: input width ", c.in, " and output width ", c.out, " must be equal");
  }
  template <class V>
  void visit(V&) {}
  saved bind(binder<Backend>&, index) const { return {}; }
  void refresh(context<Backend>&) {}
  template <class Work, class Input>
  void forward(context<Backend>& c, const Work& work, const Input& x, view<T> y, saved&) const {
    copy_rows<T>(c, work, x, y);
  }
  template <class Work>
  void backward(context<Backend>& c, const Work& work, view<const T> dy, view<T> dx, saved&, bool) const {
    copy_slots<T>(c, work, dy, dx);
  }
  static constexpr cost count_one(const expert_config& c) { return cost::dense(0, 0, c.out); }
};

}  // namespace detail

namespace expert {
struct identity {
  static constexpr const char* name = "identity";
  static constexpr bool head_of_classes = false;
  template <class T, class Backend, class /*Save*/ = save::everything>  // it keeps nothing
  using module = polymoe::detail::identity_module<T, Backend>;
};
}  // namespace expert
}  // namespace polymoe
