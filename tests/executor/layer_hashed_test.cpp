// Routers that choose by the number of a unit on CUDA, under the host executor against the CPU backend; and that the
// CUDA backend has kernels for every router.
// timeout: 900
// with: layers
#include "layer_harness.hpp"

namespace {
using namespace layer_test;
namespace score = polymoe::score;

struct with_hash : polymoe::spec {
  using scalar = float;
  using router = polymoe::hashed<score::softmax>;
  using capacity = polymoe::capacity::bounded<>;
  static constexpr int most_experts = 32;
};
template <class Router>
struct routed_by : polymoe::spec {
  using router = Router;
};
template <class Router>
constexpr bool refused =
    polymoe::support<routed_by<Router>, polymoe::cuda>() == polymoe::verdict::M022_router_of_backend;
static_assert(!refused<polymoe::strictly_balanced<>> && !refused<polymoe::top_k<1, score::balanced_assignment<>>>);
static_assert(!refused<polymoe::expert_choice<>> && !refused<polymoe::positive<>> && !refused<polymoe::soft_slots<>>);
static_assert(!refused<polymoe::top_k<2, score::sinkhorn<>>> && !refused<polymoe::top_k<2, score::sparse_transport<>>>);
static_assert(polymoe::support<routed_by<polymoe::hashed<>>, polymoe::cuda>() == polymoe::verdict::ok);
}  // namespace

TEST_CASE("a hash of the position on CUDA") { both<with_hash>({.units = 60, .factor = 0.8f, .seed = 20}); }
