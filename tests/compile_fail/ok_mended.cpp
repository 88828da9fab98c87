// The mended snippets of docs/errors.md, each compiled as a whole layer.
#include <polymoe/polymoe.hpp>

namespace m001 {
struct with_k {
  static constexpr int k = 2;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<k> select(const Row& s) const {
    return polymoe::largest<k>(s);
  }
};
struct my_moe : polymoe::spec {
  using router = with_k;
};
}  // namespace m001
template class polymoe::layer<m001::my_moe, polymoe::cpu>;

namespace m002 {
struct with_scores {
  static constexpr int k = 2;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<k> select(const Row& s) const {
    return polymoe::largest<k>(s);
  }
};
struct my_moe : polymoe::spec {
  using router = with_scores;
};
}  // namespace m002
template class polymoe::layer<m002::my_moe, polymoe::cpu>;

namespace m003 {
struct with_vjp {
  static constexpr int k = 2;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<k> select(const Row& s) const {
    return polymoe::largest<k>(s);
  }
};
struct my_moe : polymoe::spec {
  using router = with_vjp;
};
}  // namespace m003
template class polymoe::layer<m003::my_moe, polymoe::cpu>;

namespace m004 {
struct select_of_k {
  static constexpr int k = 2;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<k> select(const Row& s) const {
    return polymoe::largest<k>(s);
  }
};
struct my_moe : polymoe::spec {
  using router = select_of_k;
};
}  // namespace m004
template class polymoe::layer<m004::my_moe, polymoe::cpu>;

namespace m005 {
struct k_one {
  static constexpr int k = 1;
  template <class Row>
  POLYMOE_HD Row scores(const Row& z) const {
    return z;
  }
  template <class Row>
  POLYMOE_HD Row vjp(const Row&, const Row& d) const {
    return d;
  }
  template <class Row>
  POLYMOE_HD polymoe::choice<k> select(const Row& s) const {
    return polymoe::largest<k>(s);
  }
};
struct my_moe : polymoe::spec {
  using router = k_one;
};
}  // namespace m005
template class polymoe::layer<m005::my_moe, polymoe::cpu>;

namespace m006 {
struct with_slots {
  static constexpr bool limited = true;
  using overflow_policy = polymoe::overflow::drop;
  using priority_policy = polymoe::priority::position;
  constexpr polymoe::index slots(const polymoe::capacity_query& q) const { return (q.tokens + 1) / 2; }
};
struct my_moe : polymoe::spec {
  using capacity = with_slots;
};
}  // namespace m006
template class polymoe::layer<m006::my_moe, polymoe::cpu>;

namespace m007 {
struct with_slots {
  static constexpr bool limited = true;
  using overflow_policy = polymoe::overflow::drop;
  using priority_policy = polymoe::priority::position;
  constexpr polymoe::index slots(const polymoe::capacity_query& q) const { return (q.tokens + 1) / 2; }
};
struct my_moe : polymoe::spec {
  using capacity = with_slots;
};
}  // namespace m007
template class polymoe::layer<m007::my_moe, polymoe::cpu>;

namespace m008 {
struct with_weigh {
  template <int K, class S>
  POLYMOE_HD void weigh(const polymoe::chosen_scores<K, S>& c, S* w) const {
    for (int j = 0; j < c.n; ++j) w[j] = c.score[j];
  }
  template <int K, class S>
  POLYMOE_HD void vjp(const polymoe::chosen_scores<K, S>& c, const S* d, S* g) const {
    for (int j = 0; j < c.n; ++j) g[j] = d[j];
  }
};
struct my_moe : polymoe::spec {
  using combine = with_weigh;
};
}  // namespace m008
template class polymoe::layer<m008::my_moe, polymoe::cpu>;

namespace m009 {
struct with_weigh {
  template <int K, class S>
  POLYMOE_HD void weigh(const polymoe::chosen_scores<K, S>& c, S* w) const {
    for (int j = 0; j < c.n; ++j) w[j] = c.score[j];
  }
  template <int K, class S>
  POLYMOE_HD void vjp(const polymoe::chosen_scores<K, S>& c, const S* d, S* g) const {
    for (int j = 0; j < c.n; ++j) g[j] = d[j];
  }
};
struct my_moe : polymoe::spec {
  using combine = with_weigh;
};
}  // namespace m009
template class polymoe::layer<m009::my_moe, polymoe::cpu>;

namespace m010 {
struct my_moe : polymoe::spec {
  using expert = polymoe::expert::head<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop_to_zero>;  // or overflow::fallback
};
}  // namespace m010
template class polymoe::layer<m010::my_moe, polymoe::cpu>;

namespace m011 {
struct my_moe : polymoe::spec {
  using expert = polymoe::expert::head<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::fallback>;
};
}  // namespace m011
template class polymoe::layer<m011::my_moe, polymoe::cpu>;

namespace m012 {
struct my_moe : polymoe::spec {
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<>>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
};
}  // namespace m012
template class polymoe::layer<m012::my_moe, polymoe::cpu>;

namespace m013 {
struct my_moe : polymoe::spec {
  using router = polymoe::mixture<>;
  using capacity = polymoe::capacity::unlimited;
};
}  // namespace m013
template class polymoe::layer<m013::my_moe, polymoe::cpu>;

namespace m014 {
struct my_moe : polymoe::spec {
  using router = polymoe::mixture<polymoe::score::noisy_constant<>>;
  using balance = polymoe::balance::importance;
};
}  // namespace m014
template class polymoe::layer<m014::my_moe, polymoe::cpu>;

namespace m015 {
struct my_moe : polymoe::spec {
  using scalar = double;
};
}  // namespace m015
template class polymoe::layer<m015::my_moe, polymoe::cpu>;

namespace m016 {
struct mean_square {  // sum over experts of (mean score)^2
  static constexpr const char* name = "mean_square";
  static constexpr int columns = 1;
  float weight = 1.0f;
  template <class Info, class Row>
  POLYMOE_HD void partial(const Info& r, Row* acc) const {
    acc[0].add(r.scores);
  }
  template <class S>
  POLYMOE_HD S value(const S* totals, int experts, polymoe::index units) const {
    S sum(0);
    const S n(static_cast<float>(units));
    for (int e = 0; e < experts; ++e) sum += totals[e] / n * (totals[e] / n);
    return sum;
  }
  template <class S>
  POLYMOE_HD void cotangent(const S* totals, int experts, polymoe::index units, S* out) const {
    const S n(static_cast<float>(units));
    for (int e = 0; e < experts; ++e) out[e] = S(2) * totals[e] / (n * n);
  }
  template <class Info, class Row, class Grad>
  POLYMOE_HD void add_grad(const Info&, const Row* cot, Grad& g) const {
    g.scores.add(cot[0]);
  }
};
struct my_moe : polymoe::spec {
  using balance = mean_square;
};
}  // namespace m016
template class polymoe::layer<m016::my_moe, polymoe::cpu>;

namespace m017 {
struct my_moe : polymoe::spec {
  using router = polymoe::soft_slots<>;  // config.router.slots is the number of slots of an expert
};
}  // namespace m017
template class polymoe::layer<m017::my_moe, polymoe::cpu>;

namespace m018 {
struct whole_noise : polymoe::top_k<2> {
  static constexpr int projections = 2;
  template <class Row>
  POLYMOE_HD Row noise_std(const Row& raw) const {
    return raw.map([](typename Row::scalar x, int) { return polymoe::math::softplus(x); });
  }
  template <class Row>
  POLYMOE_HD Row noise_vjp(const Row& raw, const Row& d_std) const {
    return raw.zip(d_std,
                   [](typename Row::scalar x, typename Row::scalar d, int) { return polymoe::math::sigmoid(x) * d; });
  }
};
struct my_moe : polymoe::spec {
  using router = whole_noise;
};
}  // namespace m018
template class polymoe::layer<m018::my_moe, polymoe::cpu>;

namespace m019 {
struct my_moe : polymoe::spec {
  using expert = polymoe::expert::mlp<polymoe::act::relu>;  // docs/policies.md lists the experts
};
}  // namespace m019
template class polymoe::layer<m019::my_moe, polymoe::cpu>;

namespace m020 {
struct my_moe : polymoe::spec {
  using router = polymoe::top_k<2, polymoe::score::sigmoid>;
  using balance = polymoe::balance::loss_free_bias;
};
}  // namespace m020
template class polymoe::layer<m020::my_moe, polymoe::cpu>;

namespace m021 {
struct my_moe : polymoe::spec {
  using scalar = polymoe::bf16;
};
}  // namespace m021
template class polymoe::layer<m021::my_moe, polymoe::cpu>;

namespace m022 {
struct my_moe : polymoe::spec {
  using router = polymoe::top_k<2>;
};
}  // namespace m022
template class polymoe::layer<m022::my_moe, polymoe::cpu>;

namespace m023 {
struct my_moe : polymoe::spec {
  using router = polymoe::expert_choice<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop>;
};
}  // namespace m023
template class polymoe::layer<m023::my_moe, polymoe::cpu>;

namespace m024 {
struct my_moe : polymoe::spec {
  using router = polymoe::expert_choice<>;
  using capacity = polymoe::capacity::bounded<>;
  using balance = polymoe::balance::z_loss;
};
}  // namespace m024
template class polymoe::layer<m024::my_moe, polymoe::cpu>;

namespace m025 {
struct my_moe : polymoe::spec {
  using router = polymoe::soft_slots<>;
  using expert = polymoe::expert::gated_mlp<>;
};
}  // namespace m025
template class polymoe::layer<m025::my_moe, polymoe::cpu>;

namespace m026 {
struct my_moe : polymoe::spec {
  using router = polymoe::positive<polymoe::score::relu>;
  using balance = polymoe::balance::relu_l1;
};
}  // namespace m026
template class polymoe::layer<m026::my_moe, polymoe::cpu>;

namespace m027 {
struct my_expert {
  static constexpr bool head_of_classes = false;
  template <class T, class Backend, class Save = polymoe::save::everything>
  using module = polymoe::expert::mlp<>::module<T, Backend, Save>;
};
struct my_moe : polymoe::spec {
  using expert = my_expert;
  using save = polymoe::save::pre_activation;
};
}  // namespace m027
template class polymoe::layer<m027::my_moe, polymoe::cpu>;
namespace m040 {
struct my_moe : polymoe::spec {
  using unit = polymoe::unit::feature_map;
  using expert = polymoe::expert::mlp<polymoe::act::relu>;
};
}  // namespace m040
template class polymoe::layer<m040::my_moe, polymoe::cpu>;

namespace m041 {
struct my_moe : polymoe::spec {
  using unit = polymoe::unit::feature_map;
  using expert = polymoe::expert::depthwise_block<>;
};
}  // namespace m041
template class polymoe::layer<m041::my_moe, polymoe::cpu>;

namespace m034 {
struct my_moe : polymoe::spec {
  using router = polymoe::with_bias<polymoe::mixture<>>;
};
}  // namespace m034
template class polymoe::layer<m034::my_moe, polymoe::cpu>;

namespace m035 {
struct my_moe : polymoe::spec {
  using router = polymoe::top_k<1, polymoe::score::balanced_assignment<>>;
};
}  // namespace m035
template class polymoe::layer<m035::my_moe, polymoe::cpu>;

namespace m036 {
struct my_moe : polymoe::spec {
  using router = polymoe::strictly_balanced<>;
  using capacity = polymoe::capacity::bounded<>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_kept>;
};
}  // namespace m036
template class polymoe::layer<m036::my_moe, polymoe::cpu>;

namespace m037 {
struct my_moe : polymoe::spec {
  using router = polymoe::top_k<2, polymoe::score::sparse_transport<polymoe::score::solver::newton>>;
};
}  // namespace m037
template class polymoe::layer<m037::my_moe, polymoe::cpu>;

namespace m038 {
struct my_moe : polymoe::spec {
  using router =
      polymoe::top_k<2, polymoe::score::sparse_transport<polymoe::score::solver::newton, polymoe::score::by_plan>>;
};
}  // namespace m038
template class polymoe::layer<m038::my_moe, polymoe::cpu>;

namespace m039 {
struct my_moe : polymoe::spec {
  using router =
      polymoe::top_k<2, polymoe::score::noisy_constant<polymoe::score::sinkhorn<polymoe::score::by_clean_score>>>;
};
}  // namespace m039
template class polymoe::layer<m039::my_moe, polymoe::cpu>;

namespace exchanges {
struct my_moe : polymoe::spec {
  using exchange = polymoe::exchange::none;
};
}  // namespace exchanges
template class polymoe::layer<exchanges::my_moe, polymoe::cpu>;

namespace served_plans {
struct my_moe : polymoe::spec {};
using experts = polymoe::apply<my_moe, polymoe::cpu>;
void serve(const experts& e, polymoe::context<polymoe::cpu>& c, polymoe::view<const float> x,
           const polymoe::sparse_plan<float>& plan, polymoe::view<float> y, experts::saved& s) {
  e.forward(c, x, plan, y, s);
}
}  // namespace served_plans
