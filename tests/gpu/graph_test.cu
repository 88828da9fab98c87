// A training step of a layer as a CUDA graph: captured once, replayed with other data, another step, other noise,
// another temperature and so another routing; equal bit for bit to the eager calls.
#include <doctest/doctest.h>

#include <cstring>
#include <polymoe/backend/cuda/dispatch/sort.cuh>
#include <polymoe/cuda.cuh>

namespace {
using polymoe::bf16;
using polymoe::index;
using polymoe::view;
namespace device = polymoe::device;

template <class T, class Priority>
struct v_moe : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<2, polymoe::score::noisy_constant<>>;
  using capacity = polymoe::capacity::bounded<polymoe::overflow::drop, Priority>;
  using balance = polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load>;
  static constexpr int most_experts = 32;
};

void must(cudaError_t status, const char* what) {
  INFO(what, ": ", cudaGetErrorString(status));
  REQUIRE(status == cudaSuccess);
}

template <class Spec>
struct step_of_layer {
  using T = typename Spec::scalar;
  using layer = polymoe::layer<Spec, polymoe::cuda>;
  static constexpr index rows = 2048, dim = 384;
  polymoe::workspace<layer> w;
  polymoe::backend::device_block x, y, dy, dx;

  step_of_layer()
      : w(layer({.dim = dim, .hidden = 768, .experts = 16}), {.max_rows = rows, .seed = 5}),
        x(bytes()),
        y(bytes()),
        dy(bytes()),
        dx(bytes()) {}
  static std::size_t bytes() { return static_cast<std::size_t>(rows * dim) * sizeof(T); }
  static view<T> of(const polymoe::backend::device_block& b) { return {static_cast<T*>(b.data()), rows, dim}; }
  auto stream() { return w.ctx().stream.handle; }

  void set(std::uint64_t seed, index step) {
    const auto draw = polymoe::random_root{seed}.stream(1, 0);
    std::vector<T> host(static_cast<std::size_t>(rows * dim));
    for (auto* b : {&x, &dy}) {
      for (std::size_t i = 0; i < host.size(); ++i)
        polymoe::store(host[i], draw.normal(i + (b == &x ? 0u : 10000000u)));
      device::upload(b->data(), host.data(), bytes(), stream());
    }
    // Member by member: nvcc drops the names of a designated list here and takes the values in order.
    polymoe::step_state& s = w.step();
    s.step = step, s.temperature = 1.0f + 0.1f * static_cast<float>(step), s.noise = 0.5f, s.balance = 2.0f;
    w.push_step();
  }
  void run() {
    w.zero_grads();
    w.forward(of(x), of(y));
    w.backward(of(dy), of(dx));
  }
  std::vector<std::byte> results() {
    std::vector<std::byte> all(2 * bytes());
    device::download(all.data(), y.data(), bytes(), stream());
    device::download(all.data() + bytes(), dx.data(), bytes(), stream());
    const auto grads = w.grads_on_host();
    const auto* g = reinterpret_cast<const std::byte*>(grads.data());
    all.insert(all.end(), g, g + grads.size() * sizeof(grads[0]));
    return all;
  }
  std::vector<int> experts() {
    const auto p = w.module().plan(w.ctx(), w.saved());
    return {p.expert_of, p.expert_of + index{p.tokens} * p.k};
  }
};

template <class Spec>
void check() {
  step_of_layer<Spec> eager, graph;
  graph.set(1, 0);
  graph.run();  // loads the kernels: a capture must not
  cudaGraph_t captured{};
  cudaGraphExec_t replay{};
  must(cudaStreamBeginCapture(graph.stream(), cudaStreamCaptureModeGlobal), "begin of the capture");
  graph.run();
  must(cudaStreamEndCapture(graph.stream(), &captured), "end of the capture");
  must(cudaGraphInstantiate(&replay, captured, 0), "instantiation");
  std::vector<int> before;
  for (index step = 0; step < 4; ++step) {
    for (auto* s : {&eager, &graph}) s->set(static_cast<std::uint64_t>(step) + 7, step);
    eager.run();
    must(cudaGraphLaunch(replay, graph.stream()), "replay");
    CHECK(graph.results() == eager.results());
    CHECK(graph.experts() == eager.experts());
    CHECK(graph.experts() != before);
    before = graph.experts();
  }
  cudaGraphExecDestroy(replay), cudaGraphDestroy(captured);
}
}  // namespace

TEST_CASE("a captured step of a bf16 layer replays other data, steps and routings bit for bit") {
  check<v_moe<bf16, polymoe::priority::position>>();
}
TEST_CASE("a captured step with batch-prioritised routing, whose sort is a library's") {
  check<v_moe<bf16, polymoe::priority::gate>>();
}
TEST_CASE("a captured step of a float layer") { check<v_moe<float, polymoe::priority::position>>(); }
