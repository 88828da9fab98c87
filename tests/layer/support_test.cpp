// What support<> accepts, and where the borders are, as a constant; it never fails to compile.  Refusals code by code:
// support_refused_test.cpp.
// with: slots
#include <doctest/doctest.h>

#include <polymoe/polymoe.hpp>

using polymoe::cpu;
using polymoe::support;
using polymoe::verdict;

namespace accepted {
struct defaults : polymoe::spec {};
struct full : polymoe::spec {
  using scalar = polymoe::bf16;
  using unit = polymoe::unit::image<polymoe::unit::class_token>;
  using router = polymoe::top_k<16, polymoe::score::noisy_learned<polymoe::score::sigmoid>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::reroute<2>, polymoe::priority::gate>;
  using expert = polymoe::expert::gated_mlp<>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_kept>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load_shazeer,
                                        polymoe::balance::z_loss, polymoe::balance::switch_loss,
                                        polymoe::balance::kl_to_uniform, polymoe::balance::loss_free_bias>;
};
struct soft_head_spec : polymoe::spec {
  using scalar = polymoe::dual<double>;
  using router = polymoe::mixture<>;
  using expert = polymoe::expert::head<>;
  using balance = polymoe::balance::kl_from_uniform;
};
struct dropping_head : polymoe::spec {
  using expert = polymoe::expert::head<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop_to_zero>;
};
struct unlimited_head : polymoe::spec {  // drop is only refused where something can be dropped
  using expert = polymoe::expert::head<>;
};
static_assert(support<defaults, cpu>() == verdict::ok);
static_assert(support<full, cpu>() == verdict::ok);
static_assert(support<soft_head_spec, cpu>() == verdict::ok);
static_assert(support<dropping_head, cpu>() == verdict::ok);
static_assert(support<unlimited_head, cpu>() == verdict::ok);
}  // namespace accepted

namespace edges {
template <int K>
struct k_of : polymoe::spec {
  using router = polymoe::top_k<K>;
};
static_assert(support<k_of<1>, cpu>() == verdict::ok && support<k_of<16>, cpu>() == verdict::ok);
static_assert(support<k_of<17>, cpu>() == verdict::M005_k_out_of_range);
static_assert(support<k_of<-2>, cpu>() == verdict::M005_k_out_of_range);

struct rerouting_head : polymoe::spec {  // reroute ends in drop
  using expert = polymoe::expert::head<>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::reroute<2>>;
};
static_assert(support<rerouting_head, cpu>() == verdict::M010_drop_with_head);

struct plain_k : polymoe::spec {  // experts that pick: no select needed
  using router = polymoe::expert_choice<polymoe::score::sigmoid>;
  using capacity = polymoe::capacity::unlimited;
};
static_assert(support<plain_k, cpu>() == verdict::ok);
template <class Router, class Balance = polymoe::balance::none>
struct routed_by : polymoe::spec {
  using router = Router;
  using balance = Balance;
};
using sinkhorn = polymoe::score::sinkhorn<>;
static_assert(support<routed_by<polymoe::top_k<2, sinkhorn>>, cpu>() == verdict::ok);
static_assert(support<routed_by<polymoe::top_k<2, sinkhorn>, polymoe::balance::loss_free_bias>, cpu>() ==
              verdict::M024_balance_of_columns);
static_assert(support<routed_by<polymoe::top_k<2, sinkhorn>, polymoe::balance::importance>, cpu>() == verdict::ok);
static_assert(support<routed_by<polymoe::soft_slots<polymoe::axis::batch, false>>, cpu>() == verdict::ok);
static_assert(support<routed_by<polymoe::soft_slots<>, polymoe::balance::importance>, cpu>() ==
              verdict::M025_policies_of_slots);
struct picking_head : polymoe::spec {
  using router = polymoe::expert_choice<>;
  using expert = polymoe::expert::head<>;
  using capacity = polymoe::capacity::bounded<>;
};
static_assert(support<picking_head, cpu>() == verdict::M010_drop_with_head);
}  // namespace edges

TEST_CASE("support chooses between compositions at compile time") {
  constexpr bool head_may_drop = support<edges::picking_head, cpu>() == verdict::ok;
  CHECK_FALSE(head_may_drop);
  CHECK(support<accepted::defaults, cpu>() == verdict::ok);
}
