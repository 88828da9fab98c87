// Compiles routers on columns for the GPU: experts that pick by rank and by threshold, plans of groups, balanced
// assignment, and the way back through plans.
// arch: sm_80
#include <polymoe/backend/cuda/dispatch/sort.cuh>
#include <polymoe/cuda.cuh>

namespace polymoe {
namespace {

using unlimited = capacity::unlimited;
using none = balance::sum<>;

/// Forward and backward of one router.
template <class Router, class Capacity, class Balance, class Combine, int Most, class T>
void route(device::stream_handle s, const route_args<T>& a, const route_backward_args<T>& b,
           const route_sort& sort = {}) {
  route_forward_cuda<Router, Capacity, Balance, Combine, Most>(s, {}, {}, {}, a, sort);
  route_backward_cuda<Router, Capacity, Balance, Combine, Most>(s, {}, {}, {}, b);
}

}  // namespace

void launch_columns(device::stream_handle s, const route_args<bf16>& a, const route_backward_args<bf16>& b,
                    const route_args<float>& f, const route_backward_args<float>& g) {
  using by_plan = score::sinkhorn<score::by_plan>;
  using importance = balance::sum<balance::importance>;
  route<expert_choice<>, capacity::bounded<>, importance, combine::affinity, 64>(s, a, b);
  route<positive<>, unlimited, balance::sum<balance::relu_l1>, combine::renormalised<>, 32>(s, f, g);
  route<expert_choice<score::noisy_constant<by_plan>>, capacity::bounded<>, none, combine::affinity, 32>(s, a, b);
  route<top_k<2, by_plan>, capacity::bounded<overflow::reroute<2>>, importance, combine::affinity, 64>(s, f, g);
  using clean = score::noisy_constant<score::sinkhorn<score::by_clean_score>>;
  route<top_k<2, clean>, capacity::bounded<overflow::drop, priority::random>, none, combine::affinity, 32>(
      s, a, b, device::radix_sort());
  route<expert_choice<score::sparse_transport<>>, capacity::bounded<>, none, combine::affinity, 32>(s, f, g);
  route<top_k<2, score::sparse_transport<>>, unlimited, none, combine::affinity, 32>(s, a, b);
  using quasi = score::sparse_transport<score::solver::lbfgs, score::by_score, score::start::last_step>;
  route<top_k<2, quasi>, unlimited, none, combine::affinity, 32>(s, a, b);
  using newton = score::sparse_transport<score::solver::newton, score::by_plan>;
  route<expert_choice<newton>, capacity::bounded<>, none, combine::interpolated, 32>(s, f, g);
  route<mixture<by_plan>, unlimited, none, combine::interpolated, 32>(s, f, g);
  route<strictly_balanced<>, capacity::bounded<>, none, combine::renormalised<combine::over_kept>, 32>(s, f, g);
  route<top_k<1, score::balanced_assignment<>>, unlimited, none, combine::interpolated, 32>(s, f, g);
}
void launch_state(device::stream_handle s, const float* found, float* price, float* sum, const std::int32_t* halted) {
  using namespace backend::kernel;
  constexpr int threads = 256;
  device::launch({.kernel = "add prices", .grid = 1, .block = threads, .shared = 0, .stream = s},
                 add_prices_kernel<threads>, found, sum, 4, 8);
  device::launch({.kernel = "commit prices", .grid = 1, .block = threads, .shared = 0, .stream = s},
                 commit_prices_kernel<threads>, price, sum, 8, halted);
  device::launch({.kernel = "move thresholds", .grid = 1, .block = threads, .shared = 0, .stream = s},
                 move_thresholds_kernel<threads>, price, sum, 8, 0.01f, halted);
}
int plan_blocks() {
  return route_plan_blocks<top_k<2, score::sinkhorn<score::by_plan>>, capacity::bounded<overflow::reroute<2>>, float>();
}

}  // namespace polymoe
