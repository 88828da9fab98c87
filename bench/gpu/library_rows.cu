// CUB and Thrust beside kernels of ours, and where only they do the work, alone; on the sizes of a row.
//
//   count scan + copy       what the router does between counting wishes and giving places: where the choices of each
//                           tile begin.  Ours is a step of the router's kernel, here launched by itself, a list per
//                           expert; CUB's is one scan over all lists, one behind the other.  Both work on a fresh
//                           copy of the counts, which is timed with them.
//   sort of priorities      CUB's, behind priority::gate and priority::probability (dispatch/sort.cuh)
//   inverse as lists        CUB's sort and scan and a kernel of ours (dispatch/invert.cuh)
//   first values            Thrust's tabulate (dispatch/initialise.cuh), and the same function in a loop of ours
//   squares of gradients    of 2 E matrices: CUB's sums of segments, one a matrix (dispatch/segments.cuh), and the sum
//                           of all by the kernels of the optimiser's clipping; both read every gradient once
//
// Before anything is timed, what both do is compared: the same numbers.
#include <deque>
#include <memory>

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

namespace {
/// What the cases of a row share; its memory stays where it is until the row has been timed.
struct library_cases {
  explicit library_cases(const row_shape& r) : row(r) {
    stream = runtime.get().handle;
    context.stream = runtime.get();
  }
  backend::device_block& memory(index n, std::size_t each) { return blocks.emplace_back(bytes_of(n, each)); }
  void add(const char* name, double bytes, std::function<void()> call) {
    all.push_back({name, batch::one_graph, std::move(call), {{0, bytes}}});
  }
  index choices() const { return row.tokens * row.k; }
  index parameters() const { return 2 * row.experts * row.dim * row.hidden; }

  row_shape row;
  polymoe::cuda::runtime runtime{1, 0};
  cudaStream_t stream = nullptr;
  polymoe::context<polymoe::cuda> context;
  polymoe::random_stream draw = polymoe::random_root{1}.stream(2, 0);
  std::deque<backend::device_block> blocks;
  std::vector<timed_case> all;
};

/// Of every expert by itself: where the choices of each tile begin, from their counts.
void add_scan_of_counts(library_cases& c) {
  using capacity = polymoe::capacity::bounded<>;
  const cudaStream_t stream = c.stream;
  const index E = c.row.experts, tiles = c.row.k * polymoe::ceil_div(c.row.tokens, polymoe::route_tuning::tile_units);
  const index n = E * tiles;
  auto &counts = c.memory(n, 4), &ours = c.memory(n, 4), &cubs = c.memory(n, 4), &held = c.memory(E, 4),
       &total = c.memory(E, 4), &wished = c.memory(E, 8);
  device::launch(everywhere("counts", stream), kernel::fill_counts<int>, data<int>(counts), n, c.draw);
  polymoe::route_args<polymoe::bf16> args;
  polymoe::route_scratch<float> work;
  args.plan.experts = args.plan.all_experts = static_cast<int>(E), args.plan.groups = 1;
  args.plan.tokens = args.plan.group_size = static_cast<int>(c.row.tokens);
  args.plan.capacity = static_cast<int>(c.choices());
  args.plan.count = data<int>(held), args.wished = data<index>(wished);
  work.runs = data<int>(ours), work.run_total = data<int>(total), work.item_tiles = static_cast<int>(tiles);
  // The step overwrites its counts: each call copies them first, and CUB's is given the same copy.
  const auto bring = [&ours, &counts, n, stream] { device::copy(ours.data(), counts.data(), bytes_of(n, 4), stream); };
  const auto step = [=] {
    bring();
    const index blocks = polymoe::ceil_div(E, polymoe::route_tuning::warps);
    device::launch({.kernel = "scan step",
                    .grid = static_cast<int>(blocks),
                    .block = polymoe::route_tuning::threads,
                    .shared = 0,
                    .stream = stream},
                   kernel::scan_step<polymoe::top_k<1>, capacity, polymoe::bf16>, args, work);
  };
  const std::size_t bytes = device::exclusive_scan_bytes(static_cast<int>(n));
  auto& scratch = c.memory(static_cast<index>(bytes), 1);
  const auto scan = [=, &ours, &cubs, &scratch] {
    bring();
    device::exclusive_scan(stream, scratch.data(), bytes, data<int>(ours), data<int>(cubs), static_cast<int>(n));
  };
  for (auto* z : {&held, &total, &wished}) device::clear(z->data(), z->size(), stream);
  std::vector<int> x(static_cast<std::size_t>(n)), y(x.size());
  scan(), device::download(y.data(), cubs.data(), bytes_of(n, 4), stream);
  step(), device::download(x.data(), ours.data(), bytes_of(n, 4), stream);
  for (index i = 0; i < n; ++i) {
    const auto at = static_cast<std::size_t>(i), first = static_cast<std::size_t>(i / tiles * tiles);
    polymoe::require(x[at] == y[at] - y[first], c.row.name, ": the scan step gives ", x[at], " at ", i, ", CUB ",
                     y[at] - y[first]);
  }
  c.add("count scan + copy, ours", 16.0 * static_cast<double>(n), step);
  c.add("count scan + copy, CUB", 16.0 * static_cast<double>(n), scan);
}

/// By CUB alone: the sort of priorities, and a plan's inverse as lists.
void add_sorts(library_cases& c) {
  const cudaStream_t stream = c.stream;
  const index units = c.row.tokens, E = c.row.experts, choices = c.choices();
  auto &keys = c.memory(units, 8), &sorted = c.memory(units, 8), &ids = c.memory(units, 4), &order = c.memory(units, 4);
  device::launch(everywhere("keys", stream), kernel::fill_keys<std::uint64_t>, data<std::uint64_t>(keys),
                 data<int>(ids), units, c.draw);
  const polymoe::route_sort sort = device::radix_sort();
  const std::size_t sort_bytes = sort.bytes(static_cast<int>(units), 33);
  auto& sort_scratch = c.memory(static_cast<index>(sort_bytes), 1);
  c.add("sort of priorities, CUB", 24.0 * static_cast<double>(units),
        [=, &keys, &sorted, &ids, &order, &sort_scratch] {
          sort.run(stream, sort_scratch.data(), sort_bytes, data<std::uint64_t>(keys), data<std::uint64_t>(sorted),
                   data<int>(ids), data<int>(order), static_cast<int>(units), 33);
        });

  auto &token = c.memory(choices, 4), &begin = c.memory(E + 1, 4), &lists = c.memory(choices, 4),
       &lists_begin = c.memory(units + 1, 4);
  device::launch(everywhere("units", stream), kernel::fill_units<int>, data<int>(token), choices, units);
  std::vector<int> edges(static_cast<std::size_t>(E + 1));
  for (index e = 0; e <= E; ++e) edges[static_cast<std::size_t>(e)] = static_cast<int>(e * choices / E);
  device::upload(begin.data(), edges.data(), bytes_of(E + 1, 4), stream);
  polymoe::sparse_plan<float> plan;
  plan.tokens = static_cast<int>(units), plan.experts = plan.all_experts = static_cast<int>(E);
  plan.groups = 1, plan.max_slots = static_cast<int>(choices);
  plan.token = data<int>(token), plan.begin = data<int>(begin);
  const std::size_t invert_bytes = polymoe::invert_workspace_bytes(plan);
  auto& invert_scratch = c.memory(static_cast<index>(invert_bytes), 1);
  c.add("inverse as lists, CUB", 8.0 * static_cast<double>(choices) + 4.0 * static_cast<double>(units),
        [=, &c, &lists, &lists_begin, &invert_scratch] {
          polymoe::inverted(c.context, plan, data<int>(lists_begin), data<int>(lists), invert_scratch.data(),
                            invert_bytes);
        });
}

/// First values of all weights; they serve as gradients afterwards.
const float* add_first_values(library_cases& c) {
  const cudaStream_t stream = c.stream;
  const index parameters = c.parameters();
  auto &by_thrust = c.memory(parameters, 4), &by_kernel = c.memory(parameters, 4);
  polymoe::param_entry entry;
  entry.name = "weight", entry.size = parameters, entry.init = polymoe::init_rule::normal(0.02);
  const first_value value{polymoe::first_value(entry, 1)};
  const auto thrust_call = [=, &by_thrust] {
    backend::detail::tabulate(stream, data<float>(by_thrust), parameters, value);
  };
  const auto kernel_call = [=, &by_kernel] {
    device::launch(everywhere("first values", stream), kernel::tabulate<first_value>, data<float>(by_kernel),
                   parameters, value);
  };
  thrust_call(), kernel_call();
  const differences d = compare(stream, by_thrust.data(), by_kernel.data(), by_thrust.size(), true);
  polymoe::require(d.words == 0 && d.not_finite == 0, c.row.name,
                   ": first values of Thrust and of the kernel differ in ", d.words, " words, ", d.not_finite,
                   " are not finite");
  c.add("first values, kernel", 4.0 * static_cast<double>(parameters), kernel_call);
  c.add("first values, Thrust", 4.0 * static_cast<double>(parameters), thrust_call);
  return data<float>(by_kernel);
}

/// Sums of squares of every matrix, and of all of them.
void add_squares(library_cases& c, const float* gradients) {
  const cudaStream_t stream = c.stream;
  const index parameters = c.parameters();
  std::vector<polymoe::param_entry> matrices(static_cast<std::size_t>(2 * c.row.experts));
  std::vector<std::int64_t> borders(matrices.size() + 1);
  for (std::size_t i = 0; i < matrices.size(); ++i) {
    matrices[i].name = std::to_string(i), matrices[i].size = parameters / (2 * c.row.experts);
    matrices[i].offset = static_cast<index>(i) * matrices[i].size;
    borders[i + 1] = matrices[i].offset + matrices[i].size;
  }
  auto& edges = c.memory(static_cast<index>(borders.size()), 8);
  auto& sums = c.memory(static_cast<index>(matrices.size()), 8);
  device::upload(edges.data(), borders.data(), borders.size() * 8, stream);
  const auto segments = static_cast<std::int64_t>(matrices.size());
  const auto* const first = data<std::int64_t>(edges);
  std::size_t bytes = 0;
  backend::detail::sum_segments<float>(stream, nullptr, bytes, gradients, data<double>(sums), segments, first,
                                       first + 1);
  auto& scratch = c.memory(static_cast<index>(bytes), 1);
  const auto pieces = std::make_shared<const backend::optimizer_pieces>(c.runtime.get(), matrices);
  const auto segment_call = [=, &sums, &scratch] {
    std::size_t room = bytes;
    backend::detail::sum_segments<float>(stream, scratch.data(), room, gradients, data<double>(sums), segments, first,
                                         first + 1);
  };
  const auto norm_call = [=, &c] { backend::gradient_norm(c.context, *pieces, gradients, 0.0, false); };
  segment_call(), norm_call();
  std::vector<double> squares(matrices.size());
  device::download(squares.data(), sums.data(), sums.size(), stream);
  double all = 0;
  for (const double x : squares) all += x;
  polymoe::optimizer_report report;
  device::download(&report, pieces->report(), sizeof report, stream);
  const double whole = static_cast<double>(report.norm);
  polymoe::require(std::abs(std::sqrt(all) - whole) <= 1e-6 * whole, c.row.name, ": CUB's squares give the norm ",
                   std::sqrt(all), ", the optimiser's kernels ", whole);
  c.add("squares of gradients, ours", 4.0 * static_cast<double>(parameters), norm_call);
  c.add("squares of gradients, CUB", 4.0 * static_cast<double>(parameters), segment_call);
}
}  // namespace

/// One block of figures, of no capacity and no routing.
block measure_libraries(const row_shape& r, const ceilings& top, double seconds) {
  library_cases cases(r);
  add_scan_of_counts(cases);
  add_sorts(cases);
  add_squares(cases, add_first_values(cases));
  block b;
  b.row = r, b.capacity = "libraries", b.routing = "-";
  b.figures = take_turns(cases.stream, cases.all, top, seconds);
  return b;
}

}  // namespace gpu_bench
