// expect: M016
// A balance loss without its second phase.
#include <polymoe/polymoe.hpp>

struct half_a_loss {
  static constexpr const char* name = "half";
  static constexpr int columns = 1;
  float weight = 1.0f;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    acc[0].add(r.scores);
  }
  template <class S>
  POLYMOE_HD S value(const S* totals, int, polymoe::index) const {
    return totals[0];
  }
};
struct bad : polymoe::spec {
  using balance = half_a_loss;
};
template class polymoe::layer<bad, polymoe::cpu>;
