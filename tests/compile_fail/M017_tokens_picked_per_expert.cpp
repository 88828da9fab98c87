// expect: M017
// A router of another family: every expert picks tokens.
#include <polymoe/polymoe.hpp>

struct expert_choice {
  using picks_tokens = void;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
};
struct bad : polymoe::spec {
  using router = expert_choice;
};
template class polymoe::layer<bad, polymoe::cpu>;
