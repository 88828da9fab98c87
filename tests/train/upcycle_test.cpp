// Starting values of experts: upcycling from a dense model, equal and independent experts.
// with: trainer
#include <doctest/doctest.h>

#include <set>

#include <polymoe/nn/vit.hpp>
#include <polymoe/polymoe.hpp>
#include <polymoe/testing/check_module.hpp>
#include <polymoe/train/upcycle.hpp>

#include "support/close_to.hpp"

namespace polymoe {
namespace {

struct renormalised : spec {
  using scalar = double;
  using combine = polymoe::combine::renormalised<polymoe::combine::over_chosen>;
};
struct weighted : spec {
  using scalar = double;
};
struct with_fallback : renormalised {
  using capacity = polymoe::capacity::bounded<overflow::fallback>;
};
using dense_mlp = nn::mlp_block<double>;
template <class Spec>
typename layer<Spec, cpu>::config config_of(bool equal = false) {
  typename layer<Spec, cpu>::config c;
  c.dim = 6, c.hidden = 8, c.experts = 5, c.equal_experts = equal;
  return c;
}
template <class Spec>
using moe_work = workspace<layer<Spec, cpu>>;

constexpr index rows = 33;
struct run_of_dense {
  workspace<dense_mlp> w{dense_mlp({6, 8}), {.max_rows = rows, .seed = 3}};
  testing::detail::tensor<double> x{rows, 6}, y{rows, 6};
  run_of_dense() {
    testing::detail::fill<double>(w.values(), 4, 1, 0.5);  // biases too, which start at zero
    w.refresh();
    testing::detail::fill<double>(x, 4, 2, 1);
    w.forward(x, y);
  }
  template <class W>
  double distance(W& moe) const {
    testing::detail::tensor<double> z(rows, 6);
    moe.forward(x, z);
    double worst = 0;
    for (index i = 0; i < rows * 6; ++i) worst = std::max(worst, std::abs(z.get().ptr[0][i] - y.get().ptr[0][i]));
    return worst;
  }
};
template <class W>
std::vector<double> tensor_named(W& w, const std::string& name) {
  for (const param_entry& e : w.entries())
    if (e.name == name) {
      const auto v = w.values_on_host();
      return {v.begin() + e.offset, v.begin() + e.offset + e.size};
    }
  FAIL("no parameter " << name);
  return {};
}

}  // namespace

TEST_CASE("an upcycled layer whose weights sum to 1 is the dense MLP") {
  run_of_dense dense;
  moe_work<renormalised> moe(layer<renormalised, cpu>(config_of<renormalised>()), {.max_rows = rows, .seed = 5});
  CHECK(dense.distance(moe) > 0.1);
  const auto router = tensor_named(moe, "router.weight");
  const upcycle_report r = upcycle(dense.w, moe);
  CHECK((r.experts == 4 * 5 && r.copied == 0 && r.fresh == 1));
  CHECK(dense.distance(moe) < 1e-13);
  CHECK(tensor_named(moe, "router.weight") == router);
  // Every expert, the fallback one too, which serves what overflows.
  auto bounded = config_of<with_fallback>();
  bounded.capacity.factor = 0.4f;
  moe_work<with_fallback> all(layer<with_fallback, cpu>(bounded), {.max_rows = rows, .seed = 5});
  CHECK(upcycle(dense.w, all).experts == 4 * 6);
  CHECK(dense.distance(all) < 1e-13);
  CHECK(all.module().stats(all.ctx(), all.saved()).overflow > 0);
  // Scores as they are sum to less than 1.
  moe_work<weighted> plain(layer<weighted, cpu>(config_of<weighted>()), {.max_rows = rows, .seed = 5});
  upcycle(dense.w, plain);
  CHECK(dense.distance(plain) > 1e-2);
}

TEST_CASE("noise parts the experts, by its own size and seed") {
  run_of_dense dense;
  const auto noisy = [&](double noise, std::uint64_t seed) {
    auto moe = std::make_unique<moe_work<renormalised>>(layer<renormalised, cpu>(config_of<renormalised>()),
                                                        workspace_options{.max_rows = rows, .seed = 5});
    upcycle(dense.w, *moe, {.noise = noise, .router_scale = 0.5, .seed = seed});
    return moe;
  };
  const auto a = noisy(0.1, 1), same = noisy(0.1, 1), other = noisy(0.1, 2), none = noisy(0, 1);
  const auto w = tensor_named(dense.w, "fc1.weight");
  const auto first = tensor_named(*a, "experts.0.fc1.weight"), second = tensor_named(*a, "experts.1.fc1.weight");
  CHECK(first == tensor_named(*same, "experts.0.fc1.weight"));
  CHECK(first != tensor_named(*other, "experts.0.fc1.weight"));
  CHECK(first != second);
  double square = 0, size = 0;
  for (std::size_t i = 0; i < w.size(); ++i) square += (first[i] - w[i]) * (first[i] - w[i]), size += w[i] * w[i];
  CHECK(std::sqrt(square / size) == moe_test::close_to(0.1, 0.3));
  // The router's own first values, scaled.
  moe_work<renormalised> fresh(layer<renormalised, cpu>(config_of<renormalised>()), {.max_rows = rows, .seed = 5});
  const auto start = tensor_named(fresh, "router.weight"), scaled = tensor_named(*none, "router.weight");
  for (std::size_t i = 0; i < start.size(); ++i) CHECK(scaled[i] == 0.5 * start[i]);
}

TEST_CASE("a whole vision transformer is upcycled block by block") {
  using dense_part = nn::named<"mlp", dense_mlp>;
  using moe_part = nn::named<"moe", layer<renormalised, cpu>>;
  nn::vit_sizes s;
  s.channels = 1, s.height = s.width = 8, s.patch = 4, s.dim = 6, s.heads = 2, s.depth = 2, s.classes = 3;
  dense_part::config mlp;
  mlp.dim = 6, mlp.hidden = 8;
  moe_part::config moe = config_of<renormalised>();
  using dense_vit = nn::vit<dense_part>;
  using moe_vit = nn::vit<moe_part>;
  const index pixels = 64, images = 3;
  workspace<dense_vit> from(dense_vit(nn::vit_config<dense_part>(s, mlp)), {.max_rows = images, .seed = 1});
  workspace<moe_vit> to(moe_vit(nn::vit_config<moe_part>(s, moe)), {.max_rows = images, .seed = 2});
  testing::detail::fill<double>(from.values(), 9, 1, 0.5);
  from.refresh();
  testing::detail::tensor<double> x(images, pixels), y(images, 3), z(images, 3);
  testing::detail::fill<double>(x, 9, 2, 1);
  const upcycle_report r = upcycle(from, to);
  CHECK(r.experts == 2 * 5 * 4);
  CHECK(r.copied == static_cast<index>(from.entries().size()) - 2 * 4);
  CHECK(r.fresh == 2);
  from.forward(x, y), to.forward(x, z);
  for (index i = 0; i < images * 3; ++i) CHECK(std::abs(y.get().ptr[0][i] - z.get().ptr[0][i]) < 1e-12);
  CHECK_THROWS_WITH_AS(upcycle(from, to, {.dense = "ffn"}), doctest::Contains("blocks.0.ffn.fc1.weight"), error);
}

TEST_CASE("upcycling refuses other shapes and models without experts") {
  workspace<dense_mlp> narrow(dense_mlp({6, 7}), {.max_rows = 1, .seed = 1}),
      wide(dense_mlp({6, 8}), {.max_rows = 1, .seed = 1});
  moe_work<renormalised> moe(layer<renormalised, cpu>(config_of<renormalised>()), {.max_rows = 1, .seed = 5});
  const auto before = moe.values_on_host();
  CHECK_THROWS_WITH_AS(upcycle(narrow, moe), doctest::Contains("48 numbers"), error);
  CHECK(moe.values_on_host() == before);
  CHECK_THROWS_WITH_AS(upcycle(wide, wide), doctest::Contains("none of the 4 tensors"), error);
}

TEST_CASE("experts start as they are asked to: independent or equal") {
  for (const bool equal : {false, true}) {
    moe_work<renormalised> moe(layer<renormalised, cpu>(config_of<renormalised>(equal)), {.max_rows = rows, .seed = 5});
    std::set<std::vector<double>> starts;
    for (int e = 0; e < 5; ++e) starts.insert(tensor_named(moe, "experts." + std::to_string(e) + ".fc1.weight"));
    CHECK(starts.size() == (equal ? 1 : 5));
    CHECK(tensor_named(moe, "experts.0.fc1.weight") != tensor_named(moe, "experts.0.fc2.weight"));
  }
  // The first expert is the same in both, and so is the router.
  moe_work<renormalised> a(layer<renormalised, cpu>(config_of<renormalised>(false)), {.max_rows = rows, .seed = 5});
  moe_work<renormalised> b(layer<renormalised, cpu>(config_of<renormalised>(true)), {.max_rows = rows, .seed = 5});
  CHECK(tensor_named(a, "experts.0.fc1.weight") == tensor_named(b, "experts.0.fc1.weight"));
  CHECK(tensor_named(a, "router.weight") == tensor_named(b, "router.weight"));
  // Convolution experts go through the same switch.
  struct maps : renormalised {
    using unit = polymoe::unit::feature_map;
    using expert = polymoe::expert::conv_block<act::relu, 2>;
  };
  auto c = layer<maps, cpu>::config{};
  c.dim = 2, c.hidden = 2, c.experts = 3, c.unit_rows = 4, c.equal_experts = true;
  moe_work<maps> m(layer<maps, cpu>(c), {.max_rows = 8, .seed = 5});
  CHECK(tensor_named(m, "experts.0.conv1.weight") == tensor_named(m, "experts.2.conv1.weight"));
}

}  // namespace polymoe
