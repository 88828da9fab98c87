// Sparse transport on CUDA under the host executor against the CPU backend: experts that pick and units that choose,
// one block a group and several.
// timeout: 600
// with: columns
#include "columns_harness.hpp"

namespace {
using namespace columns_test;
namespace score = polymoe::score;

template <class T>
using picked = bounded_spec<T, polymoe::expert_choice<score::sparse_transport<>>>;
struct chosen : bounded_spec<double, polymoe::top_k<2, score::sparse_transport<>>> {
  static constexpr int most_experts = 64;
};

template <class Spec>
void check(const setup& s, int iterations = 4) {
  typename Spec::router r;
  r.iterations = iterations;
  pair_of_backends<Spec> p(s, r);
}
}  // namespace

TEST_CASE("sparse transport: experts that pick and units that choose") {
  for (const int units : {0, 1, 63, 65})
    for (const int experts : {1, 6}) {
      const inputs kind = units == 63 ? inputs::bad : inputs::random;
      check<picked<double>>({.units = units, .experts = experts, .padded = experts == 1, .kind = kind, .seed = 50});
      if (experts > 1) check<chosen>({.units = units, .experts = experts, .kind = kind, .seed = 51});
    }
  check<picked<double>>({.units = 90, .experts = 5, .group_size = 40, .kind = inputs::equal, .seed = 52}, 0);
  check<chosen>({.units = 40, .experts = 4, .group_size = 16, .kind = inputs::all_bad, .seed = 53});
  check<picked<float>>({.units = 66, .experts = 6, .factor = 2, .seed = 54});
}
TEST_CASE("what plans cost, also where potentials lay in shared memory") {
  const setup s{.units = 44, .experts = 4, .group_size = 16, .kind = inputs::bad, .seed = 55};
  pair_of_backends<picked<double>> p(s);
  same_costs(p, picked<double>::router{});
  pair_of_backends<chosen> q(s);
  same_costs(q, chosen::router{});
}
TEST_CASE("a group that several blocks share has the bits of one block; columns too long for a warp") {
  check<picked<double>>({.units = 1030, .experts = 8, .factor = 2, .kind = inputs::bad, .seed = 42}, 1);
  check<chosen>({.units = 250, .experts = 33, .seed = 43}, 1);
}
