// CUB and Thrust beside kernels of ours, and where only they do the work, alone; on the sizes of a row.
//
//   count scan + copy       what the router does between counting wishes and giving places: where the choices of each
//                           tile begin.  Ours is a step of the router's kernel, here launched by itself, a list per
//                           expert; CUB's is one scan over all lists, one behind the other.  Both work on a fresh
//                           copy of the counts, which is timed with them.
//   sort of priorities      CUB's, behind priority::gate and priority::probability (dispatch/sort.cuh)
//   inverse as lists        CUB's sort and scan and a kernel of ours (dispatch/invert.cuh)
//   first values            Thrust's tabulate (dispatch/initialise.cuh), and the same function in a loop of ours
//   squares of gradients    of 2 E matrices: CUB's sums of segments, one a matrix (dispatch/segments.cuh), and the sum of
//                           all by the kernels of the optimiser's clipping; both read every gradient once
//
// Before anything is timed, what both do is compared: the same numbers.
#include <polymoe/backend/cuda/dispatch/initialise.cuh>
#include <polymoe/backend/cuda/dispatch/invert.cuh>
#include <polymoe/backend/cuda/dispatch/optimizer.cuh>
#include <polymoe/backend/cuda/dispatch/segments.cuh>
#include <polymoe/backend/cuda/kernel/place.cuh>
#include <polymoe/router/top_k.hpp>

#include "data.cuh"
#include "timing.cuh"

namespace gpu_bench {

namespace backend = polymoe::backend;
using first_value = backend::detail::stored_first_value<float>;

namespace kernel {
/// counts[i] in 0 .. 7, drawn.
template <class Int>
POLYMOE_KERNEL void fill_counts(Int* to, index n, polymoe::random_stream draw) {
  for (index i = thread_number(); i < n; i += thread_total())
    to[i] = static_cast<Int>(draw.below(static_cast<std::uint64_t>(i), 8));
}
/// Priorities: draws of all 32 bits under the border of a group, as one group has them.
template <class Key>
POLYMOE_KERNEL void fill_keys(Key* keys, int* ids, index n, polymoe::random_stream draw) {
  for (index i = thread_number(); i < n; i += thread_total())
    keys[i] = draw.bits(static_cast<std::uint64_t>(i)).a, ids[i] = static_cast<int>(i);
}
/// Slots of a packed plan whose experts took every unit they hold in unit order.
template <class Int>
POLYMOE_KERNEL void fill_units(Int* token, index n, index tokens) {
  for (index i = thread_number(); i < n; i += thread_total()) token[i] = static_cast<Int>(i * 7 % tokens);
}
/// One step of the router by itself.
template <class Router, class Capacity, class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(polymoe::route_tuning::threads)
    scan_step(polymoe::route_args<T> a, polymoe::route_scratch<polymoe::compute_t<T>> w) {
  polymoe::place_phases<Router, Capacity, T>{a, w}.scan(0);
}
template <class F>
POLYMOE_KERNEL void tabulate(float* to, index n, F f) {
  for (index i = thread_number(); i < n; i += thread_total()) to[i] = f(i);
}
}  // namespace kernel

namespace {
template <class T>
T* data(const backend::device_block& b) {
  return static_cast<T*>(b.data());
}
std::size_t bytes_of(index n, std::size_t each) { return static_cast<std::size_t>(n) * each; }
device::launch_shape everywhere(const char* name, cudaStream_t stream) {
  return {.kernel = name, .grid = device::multiprocessors() * 8, .block = 256, .shared = 0, .stream = stream};
}
}  // namespace

/// One block of figures, of no capacity and no routing.
block measure_libraries(const row_shape& r, const ceilings& top, double seconds) {
  polymoe::cuda::runtime own(1, 0);
  const cudaStream_t stream = own.get().handle;
  polymoe::context<polymoe::cuda> c;
  c.stream = own.get();
  const auto draw = polymoe::random_root{1}.stream(2, 0);
  const index E = r.experts, choices = r.tokens * r.k;
  block b;
  b.row = r, b.capacity = "libraries", b.routing = "-";
  std::vector<timed_case> cases;
  const auto add = [&](const char* name, double bytes, std::function<void()> call) {
    cases.push_back({name, batch::one_graph, std::move(call), {{0, bytes}}});
  };

  // ---- scan of tile counts ----
  using capacity = polymoe::capacity::bounded<>;
  const index tiles = r.k * polymoe::ceil_div(r.tokens, polymoe::route_tuning::tile_units), n = E * tiles;
  backend::device_block counts(bytes_of(n, 4)), ours(bytes_of(n, 4)), cubs(bytes_of(n, 4)), held(bytes_of(E, 4)),
      total(bytes_of(E, 4)), wished(bytes_of(E, 8));
  device::launch(everywhere("counts", stream), kernel::fill_counts<int>, data<int>(counts), n, draw);
  polymoe::route_args<polymoe::bf16> a;
  polymoe::route_scratch<float> w;
  a.plan.experts = a.plan.all_experts = static_cast<int>(E), a.plan.groups = 1;
  a.plan.tokens = a.plan.group_size = static_cast<int>(r.tokens), a.plan.capacity = static_cast<int>(choices);
  a.plan.count = data<int>(held), a.wished = data<index>(wished);
  w.runs = data<int>(ours), w.run_total = data<int>(total), w.item_tiles = static_cast<int>(tiles);
  // The step overwrites its counts: each call copies them first, and CUB's is given the same copy.
  const auto bring = [&, n] { device::copy(ours.data(), counts.data(), bytes_of(n, 4), stream); };
  const auto step = [&] {
    bring();
    const index blocks = polymoe::ceil_div(E, polymoe::route_tuning::warps);
    device::launch({.kernel = "scan step",
                    .grid = static_cast<int>(blocks),
                    .block = polymoe::route_tuning::threads,
                    .shared = 0,
                    .stream = stream},
                   kernel::scan_step<polymoe::top_k<1>, capacity, polymoe::bf16>, a, w);
  };
  const std::size_t scan_bytes = device::exclusive_scan_bytes(static_cast<int>(n));
  backend::device_block scan_scratch(scan_bytes);
  const auto scan = [&] {
    bring();
    device::exclusive_scan(stream, scan_scratch.data(), scan_bytes, data<int>(ours), data<int>(cubs),
                           static_cast<int>(n));
  };
  {
    for (auto* z : {&held, &total, &wished}) device::clear(z->data(), z->size(), stream);
    std::vector<int> x(static_cast<std::size_t>(n)), y(x.size());
    scan(), device::download(y.data(), cubs.data(), bytes_of(n, 4), stream);
    step(), device::download(x.data(), ours.data(), bytes_of(n, 4), stream);
    for (index i = 0; i < n; ++i) {
      const auto at = static_cast<std::size_t>(i), first = static_cast<std::size_t>(i / tiles * tiles);
      polymoe::require(x[at] == y[at] - y[first], r.name, ": the scan step gives ", x[at], " at ", i, ", CUB ",
                       y[at] - y[first]);
    }
  }
  add("count scan + copy, ours", 16.0 * static_cast<double>(n), step);
  add("count scan + copy, CUB", 16.0 * static_cast<double>(n), scan);

  // ---- sort of priorities ----
  backend::device_block keys(bytes_of(r.tokens, 8)), sorted(bytes_of(r.tokens, 8)), ids(bytes_of(r.tokens, 4)),
      order(bytes_of(r.tokens, 4));
  device::launch(everywhere("keys", stream), kernel::fill_keys<std::uint64_t>, data<std::uint64_t>(keys),
                 data<int>(ids), r.tokens, draw);
  const polymoe::route_sort sort = device::radix_sort();
  const std::size_t sort_bytes = sort.bytes(static_cast<int>(r.tokens), 33);
  backend::device_block sort_scratch(sort_bytes);
  add("sort of priorities, CUB", 24.0 * static_cast<double>(r.tokens), [&] {
    sort.run(stream, sort_scratch.data(), sort_bytes, data<std::uint64_t>(keys), data<std::uint64_t>(sorted),
             data<int>(ids), data<int>(order), static_cast<int>(r.tokens), 33);
  });

  // ---- inverse as lists ----
  backend::device_block token(bytes_of(choices, 4)), begin(bytes_of(E + 1, 4)), lists(bytes_of(choices, 4)),
      lists_begin(bytes_of(r.tokens + 1, 4));
  device::launch(everywhere("units", stream), kernel::fill_units<int>, data<int>(token), choices, r.tokens);
  std::vector<int> edges(static_cast<std::size_t>(E + 1));
  for (index e = 0; e <= E; ++e) edges[static_cast<std::size_t>(e)] = static_cast<int>(e * choices / E);
  device::upload(begin.data(), edges.data(), bytes_of(E + 1, 4), stream);
  polymoe::sparse_plan<float> plan;
  plan.tokens = static_cast<int>(r.tokens), plan.experts = plan.all_experts = static_cast<int>(E);
  plan.groups = 1, plan.max_slots = static_cast<int>(choices);
  plan.token = data<int>(token), plan.begin = data<int>(begin);
  const std::size_t invert_bytes = polymoe::invert_workspace_bytes(plan);
  backend::device_block invert_scratch(invert_bytes);
  add("inverse as lists, CUB", 8.0 * static_cast<double>(choices) + 4.0 * static_cast<double>(r.tokens), [&] {
    polymoe::inverted(c, plan, data<int>(lists_begin), data<int>(lists), invert_scratch.data(), invert_bytes);
  });

  // ---- first values ----
  const index parameters = 2 * E * r.dim * r.hidden;
  backend::device_block by_thrust(bytes_of(parameters, 4)), by_kernel(bytes_of(parameters, 4));
  polymoe::param_entry entry;
  entry.name = "weight", entry.size = parameters, entry.init = polymoe::init_rule::normal(0.02);
  const first_value value{polymoe::first_value(entry, 1)};
  const auto thrust_call = [&] { backend::detail::tabulate(stream, data<float>(by_thrust), parameters, value); };
  const auto kernel_call = [&] {
    device::launch(everywhere("first values", stream), kernel::tabulate<first_value>, data<float>(by_kernel),
                   parameters, value);
  };
  thrust_call(), kernel_call();
  const differences d = compare(stream, by_thrust.data(), by_kernel.data(), by_thrust.size(), true);
  polymoe::require(d.words == 0 && d.not_finite == 0, r.name, ": first values of Thrust and of the kernel differ in ",
                   d.words, " words, ", d.not_finite, " are not finite");
  add("first values, kernel", 4.0 * static_cast<double>(parameters), kernel_call);
  add("first values, Thrust", 4.0 * static_cast<double>(parameters), thrust_call);

  // ---- squares of gradients ----
  std::vector<polymoe::param_entry> matrices(static_cast<std::size_t>(2 * E));
  std::vector<std::int64_t> borders(matrices.size() + 1);
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    matrices[i].name = std::to_string(i), matrices[i].size = parameters / (2 * E);
    matrices[i].offset = static_cast<index>(i) * matrices[i].size;
    borders[i + 1] = matrices[i].offset + matrices[i].size;
  }
  backend::device_block edges_there(borders.size() * 8), sums(matrices.size() * 8);
  device::upload(edges_there.data(), borders.data(), borders.size() * 8, stream);
  const auto segments = static_cast<std::int64_t>(matrices.size());
  const auto* const first = data<std::int64_t>(edges_there);
  std::size_t segment_bytes = 0;
  backend::detail::sum_segments<float>(stream, nullptr, segment_bytes, data<float>(by_kernel), data<double>(sums),
                                       segments, first, first + 1);
  backend::device_block segment_scratch(segment_bytes);
  const backend::optimizer_pieces pieces(own.get(), matrices);
  const auto segment_call = [&] {
    backend::detail::sum_segments<float>(stream, segment_scratch.data(), segment_bytes, data<float>(by_kernel),
                                         data<double>(sums), segments, first, first + 1);
  };
  const auto norm_call = [&] { backend::gradient_norm(c, pieces, data<float>(by_kernel), 0.0, false); };
  segment_call(), norm_call();
  {
    std::vector<double> squares(matrices.size());
    device::download(squares.data(), sums.data(), sums.size(), stream);
    double all = 0;
    for (const double x : squares) all += x;
    polymoe::optimizer_report report;
    device::download(&report, pieces.report(), sizeof report, stream);
    const double whole = static_cast<double>(report.norm);
    polymoe::require(std::abs(std::sqrt(all) - whole) <= 1e-6 * whole, r.name, ": CUB's squares give the norm ",
                     std::sqrt(all), ", the optimiser's kernels ", whole);
  }
  add("squares of gradients, ours", 4.0 * static_cast<double>(parameters), norm_call);
  add("squares of gradients, CUB", 4.0 * static_cast<double>(parameters), segment_call);

  b.figures = take_turns(stream, cases, top, seconds);
  return b;
}

}  // namespace gpu_bench
