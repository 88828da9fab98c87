// Solvers of sparse transport on CUDA under the host executor against the CPU backend: L-BFGS, Newton, gates of the
// plan with their gradient, plans that begin with the prices of the last step; one block a group and several.
// timeout: 600
// with: columns
#include "columns_harness.hpp"

namespace {
using namespace columns_test;
namespace score = polymoe::score;
namespace solver = polymoe::score::solver;

using quasi = bounded_spec<double, polymoe::top_k<2, score::sparse_transport<solver::lbfgs>>>;
template <class T>
using by_plan = bounded_spec<T, polymoe::expert_choice<score::sparse_transport<solver::newton, score::by_plan>>>;
using begun = bounded_spec<
    double, polymoe::expert_choice<score::sparse_transport<solver::newton, score::by_score, score::start::last_step>>>;
using solver_chosen = bounded_spec<double, polymoe::top_k<2, score::sparse_transport<solver::newton>>>;

template <class Spec>
void check_solver(const setup& s, int iterations, polymoe::index nonzeros = 0) {
  typename Spec::router r;
  r.iterations = iterations, r.nonzeros = nonzeros;
  pair_of_backends<Spec> p(s, r);
}
}  // namespace

TEST_CASE("L-BFGS: units that choose") {
  for (const int units : {0, 1, 33})
    check_solver<quasi>({.units = units, .experts = 6, .kind = units == 33 ? inputs::bad : inputs::random, .seed = 60},
                        3, -1);
  check_solver<quasi>({.units = 40, .experts = 4, .group_size = 16, .kind = inputs::all_bad, .seed = 61}, 3);
  check_solver<quasi>({.units = 300, .experts = 30, .seed = 62}, 1);
}
TEST_CASE("Newton: units that choose, with a limit and without") {
  for (const int units : {0, 1, 33})
    for (const polymoe::index nonzeros : {0, -1})
      check_solver<solver_chosen>(
          {.units = units, .experts = 5, .kind = units == 33 ? inputs::bad : inputs::random, .seed = 63}, 20, nonzeros);
  check_solver<solver_chosen>({.units = 40, .experts = 4, .group_size = 16, .kind = inputs::all_bad, .seed = 64}, 20);
  check_solver<solver_chosen>({.units = 300, .experts = 30, .seed = 65}, 3);
}
TEST_CASE("Newton: experts that pick, gates of the plan and the way back through it") {
  for (const int units : {1, 33})
    for (const polymoe::index nonzeros : {0, -1})
      check_solver<by_plan<double>>(
          {.units = units, .experts = 5, .factor = 2, .kind = units == 33 ? inputs::bad : inputs::random, .seed = 66},
          20, nonzeros);
  check_solver<by_plan<double>>({.units = 90, .experts = 4, .group_size = 40, .factor = 2, .seed = 67}, 20);
  check_solver<by_plan<float>>({.units = 64, .experts = 4, .padded = true, .factor = 2, .seed = 68}, 20);
  check_solver<by_plan<double>>({.units = 1030, .experts = 8, .factor = 2, .kind = inputs::bad, .seed = 69}, 2);
}
TEST_CASE("plans that begin with the prices of the last step: the same state, also from a graph") {
  for (const inputs kind : {inputs::random, inputs::bad, inputs::all_bad}) {
    begun::router r;
    r.tolerance = 1e-9f;
    pair_of_backends<begun> p({.units = 44, .experts = 4, .group_size = 16, .factor = 2, .kind = kind, .seed = 70}, r);
    CHECK(p.state_apart_after(3) < 1e-6);
    if (kind == inputs::random) CHECK(p.replays());
    if (kind == inputs::bad) same_costs(p, r);
  }
}
