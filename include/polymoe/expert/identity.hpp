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
  void forward(context<Backend>& c, const expert_work& work, view<const T> x, view<T> y, saved&) const {
    copy(c, work, x, y, true);
  }
  void backward(context<Backend>& c, const expert_work& work, view<const T> dy, view<T> dx, saved&, bool) const {
    copy(c, work, dy, dx, false);
  }
  static constexpr cost count_one(const expert_config&) { return {}; }

 private:
  static void copy(context<Backend>& c, const expert_work& work, view<const T> from, view<T> to, bool input_rows) {
    parallel_for(c.stream, work.tile_count, [&](index i, worker&) {
      const expert_run& t = work.tiles[i];
      for (int p = 0; p < view<T>::planes; ++p)
        for (index r = 0; r < t.rows; ++r)
          std::copy_n(from.row((input_rows ? t.x_row : t.y_row) + r, p), from.cols, to.row(t.y_row + r, p));
    });
  }
};

}  // namespace detail

namespace expert {
struct identity {
  static constexpr const char* name = "identity";
  static constexpr bool head_of_classes = false;
  template <class T, class Backend>
  using module = polymoe::detail::identity_module<T, Backend>;
};
}  // namespace expert
}  // namespace polymoe
