// Nothing is allocated in forward and backward: operator new is replaced for the whole program and counted while a
// layer runs.  Products come from the built-in loops and from CBLAS; oneDNN makes a few small allocations inside each
// of its own calls (backend/cpu/maths_onednn.hpp), which cannot be told from ours here.
// with: choice
#include <atomic>
#include <cstdlib>
#include <new>

#include "support/moe_layer.hpp"

namespace {
std::atomic<bool> counting{false};
std::atomic<long> allocations{0}, releases{0};

void* counted(std::size_t bytes, std::size_t alignment) {
  if (counting.load(std::memory_order_relaxed)) ++allocations;
  void* p = nullptr;
  if (alignment <= alignof(std::max_align_t))
    p = std::malloc(bytes ? bytes : 1);
  else if (posix_memalign(&p, alignment, bytes ? bytes : 1) != 0)
    p = nullptr;
  if (!p) throw std::bad_alloc();
  return p;
}
void released(void* p) {
  if (p && counting.load(std::memory_order_relaxed)) ++releases;
  std::free(p);
}
}  // namespace

// Every other form of new and delete ends in one of these.
void* operator new(std::size_t n) { return counted(n, 1); }
void* operator new[](std::size_t n) { return counted(n, 1); }
void* operator new(std::size_t n, std::align_val_t a) { return counted(n, static_cast<std::size_t>(a)); }
void* operator new[](std::size_t n, std::align_val_t a) { return counted(n, static_cast<std::size_t>(a)); }
void operator delete(void* p) noexcept { released(p); }
void operator delete[](void* p) noexcept { released(p); }
void operator delete(void* p, std::size_t) noexcept { released(p); }
void operator delete[](void* p, std::size_t) noexcept { released(p); }
void operator delete(void* p, std::align_val_t) noexcept { released(p); }
void operator delete[](void* p, std::align_val_t) noexcept { released(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { released(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { released(p); }

namespace moe_test {
namespace {

namespace balance = polymoe::balance;
namespace expert = polymoe::expert;
namespace overflow = polymoe::overflow;
using polymoe::bf16;
using polymoe::layer;
using on_builtin = polymoe::backend::cpu_with<polymoe::maths::builtin>;

/// Allocations and releases inside f().
template <class F>
long counted_in(F f) {
  allocations = releases = 0;
  counting = true;
  f();
  counting = false;
  return allocations + releases;
}

template <class T, class Overflow = overflow::drop, class Priority = polymoe::priority::gate>
struct tokens : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<2, polymoe::score::noisy_learned<>>;
  using capacity = polymoe::capacity::bounded<Overflow, Priority>;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_kept>;
  using balance =
      polymoe::balance::sum<polymoe::balance::importance, polymoe::balance::load, polymoe::balance::switch_loss,
                            polymoe::balance::z_loss, polymoe::balance::loss_free_bias>;
};
template <class T>
struct dropless : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<3, polymoe::score::sigmoid>;
};
template <class T>
struct mixed : polymoe::spec {
  using scalar = T;
  using router = polymoe::mixture<>;
  using balance = polymoe::balance::sum<polymoe::balance::kl_from_uniform, polymoe::balance::kl_to_uniform>;
};
template <class T>
struct images : polymoe::spec {
  using scalar = T;
  using unit = polymoe::unit::image<>;
  using capacity = polymoe::capacity::bounded<overflow::identity>;
};
template <class T>
struct gated : polymoe::spec {
  using scalar = T;
  using capacity = polymoe::capacity::bounded<overflow::fallback, polymoe::priority::probability>;
  using expert = polymoe::expert::gated_mlp<>;
};
template <class T>
struct heads : polymoe::spec {
  using scalar = T;
  using unit = polymoe::unit::image<polymoe::unit::class_token>;
  using capacity = polymoe::capacity::bounded<overflow::drop_to_zero>;
  using expert = polymoe::expert::head<>;
};

template <class Router>
struct columns : polymoe::spec {
  using scalar = float;
  using router = Router;
  using capacity = polymoe::capacity::bounded<>;
};
template <class Router>
struct slots : polymoe::spec {
  using scalar = float;
  using router = Router;
};
template <class T, class Expert>
struct maps : polymoe::spec {
  using scalar = T;
  using unit = polymoe::unit::feature_map;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
  using expert = Expert;
};
using conv_maps = maps<double, expert::conv_block<polymoe::act::relu, 4>>;
using depthwise_maps = maps<float, expert::depthwise_block<>>;

/// forward, backward and commit of a layer, after a first call, in training and evaluation, with full and smaller
/// calls.
template <class Spec, class Backend>
long allocations_of(int threads, bool padded = false) {
  using Layer = layer<Spec, Backend>;
  typename Layer::config c;
  c.dim = 12, c.hidden = 20, c.experts = 6, c.group_size = 50;
  if constexpr (Spec::unit::block) c.unit_rows = 4;
  if constexpr (Spec::expert::head_of_classes) c.classes = 5;
  if constexpr (requires { c.capacity.factor; }) c.capacity.factor = 0.7f, c.padded = padded;
  constexpr index rows = 1200;
  layer_case<Layer> a(c, rows, 7, threads);
  const auto calls = [&](index n) {
    a.w.forward(a.x.get().rows_at(0, n), a.y.get().rows_at(0, n));
    a.w.backward(a.dy.get().rows_at(0, n), a.dx.get().rows_at(0, n));
    a.w.module().commit(a.w.ctx());
  };
  calls(rows);
  if constexpr (Spec::capacity::limited && Spec::router::k >= 1) REQUIRE(a.stats().placed < a.stats().choices);
  long total = counted_in([&] { calls(rows), calls(600), calls(rows); });
  a.x.put(3, 2, not_a_number);  // bad rows take other paths
  total += counted_in([&] { calls(rows), a.w.refresh(); });
  a.w.ctx().mode = polymoe::run_mode::eval;
  return total + counted_in([&] { calls(rows); });
}
/// An expert that does what no expert may: it makes a vector in forward.
struct wasteful {
  static constexpr const char* name = "wasteful";
  static constexpr bool head_of_classes = false;
  template <class T, class Backend>
  struct module : expert::identity::module<T, Backend> {
    using base = typename expert::identity::module<T, Backend>;
    using base::base;
    void forward(polymoe::context<Backend>& c, const polymoe::expert_work& work, view<const T> x, view<T> y,
                 typename base::saved& s) const {
      const std::vector<T> waste(static_cast<std::size_t>(x.cols), T(1));
      base::forward(c, work, x, y, s);
      if (y.rows > 0) y.set(0, 0, y.get(0, 0) * waste.back());
    }
  };
};
struct wasteful_spec : polymoe::spec {
  using expert = wasteful;
};

}  // namespace

TEST_CASE("the counter counts: an expert that makes a vector is found, five times in five forward calls") {
  CHECK(counted_in([] { delete new int(3); }) == 2);
  CHECK(counted_in([] { std::vector<double> v(100); }) == 2);
  CHECK(counted_in([] { polymoe::aligned_block b(1000); }) == 2);
  CHECK(counted_in([] {}) == 0);
  CHECK(allocations_of<wasteful_spec, on_builtin>(1) == 2 * 5);
}

TEST_CASE("float layers on built-in products allocate nothing") {
  for (const int threads : {1, 3}) {
    CHECK(allocations_of<tokens<float>, on_builtin>(threads) == 0);
    CHECK(allocations_of<tokens<float>, on_builtin>(threads, true) == 0);
    CHECK(allocations_of<tokens<float, overflow::reroute<2>, polymoe::priority::position>, on_builtin>(threads) == 0);
    CHECK(allocations_of<dropless<float>, on_builtin>(threads) == 0);
    CHECK(allocations_of<mixed<float>, on_builtin>(threads) == 0);
    CHECK(allocations_of<images<float>, on_builtin>(threads) == 0);
    CHECK(allocations_of<gated<float>, on_builtin>(threads) == 0);
    CHECK(allocations_of<heads<float>, on_builtin>(threads) == 0);
    CHECK(allocations_of<depthwise_maps, on_builtin>(threads) == 0);
  }
}

TEST_CASE("routers that look beyond a row allocate nothing") {
  namespace score = polymoe::score;
  for (const int threads : {1, 3}) {
    CHECK(allocations_of<columns<polymoe::expert_choice<>>, on_builtin>(threads) == 0);
    CHECK(allocations_of<columns<polymoe::expert_choice<score::sinkhorn<score::by_plan>>>, on_builtin>(threads, true) ==
          0);
    CHECK(allocations_of<columns<polymoe::top_k<2, score::sinkhorn<>>>, on_builtin>(threads) == 0);
    CHECK(allocations_of<columns<polymoe::top_k<2, score::sparse_transport<>>>, on_builtin>(threads) == 0);
    CHECK(allocations_of<columns<polymoe::positive<>>, on_builtin>(threads) == 0);
    CHECK(allocations_of<slots<polymoe::soft_slots<>>, on_builtin>(threads) == 0);
  }
}

TEST_CASE("a bf16 and a dual layer on built-in products allocate nothing") {
  CHECK(allocations_of<gated<bf16>, on_builtin>(2) == 0);
  CHECK(allocations_of<tokens<polymoe::dual<float>>, on_builtin>(2) == 0);
}

#if defined(POLYMOE_WITH_CBLAS)
TEST_CASE("double layers on CBLAS allocate nothing") {
  using on_cblas = polymoe::backend::cpu_with<polymoe::maths::cblas>;
  CHECK(allocations_of<tokens<double>, on_cblas>(2) == 0);
  CHECK(allocations_of<mixed<double>, on_cblas>(2) == 0);
  CHECK(allocations_of<gated<double>, on_cblas>(2) == 0);
  CHECK(allocations_of<conv_maps, on_cblas>(2) == 0);
}
#endif

}  // namespace moe_test
