// Experts where a placement says: in the MLP blocks of a vision transformer, in convolution blocks of a ResNet and of a
// small CNN, in the head.  Which parameters there are, gradients in double, costs, and what a dense block has in common
// with the expert that is made of it.
// timeout: 300
// with: blocks
#include <doctest/doctest.h>

#include <set>

#include <polymoe/nn/resnet.hpp>
#include <polymoe/nn/small_cnn.hpp>
#include <polymoe/nn/vit.hpp>
#include <polymoe/polymoe.hpp>
#include <polymoe/testing/check_module.hpp>
#include <polymoe/train/upcycle.hpp>

namespace polymoe {
namespace placed {
namespace {

using nn::placement;
using T = double;

struct token_experts : spec {
  using scalar = T;
  using router = top_k<2>;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
};
struct head_experts : spec {
  using scalar = T;
  using router = top_k<1>;
  using expert = polymoe::expert::head<act::silu>;
  using capacity = polymoe::capacity::bounded<overflow::drop_to_zero>;
};
template <class Expert>
struct map_experts : spec {
  using scalar = T;
  using unit = polymoe::unit::feature_map;
  using router = top_k<1>;
  using capacity = polymoe::capacity::bounded<overflow::drop>;
  using expert = Expert;
};
template <class Spec>
using moe_of = nn::named<"moe", layer<Spec, cpu>>;
using conv_moe = moe_of<map_experts<polymoe::expert::conv_block<>>>;
using depthwise_moe = moe_of<map_experts<polymoe::expert::depthwise_block<>>>;

template <class Model>
std::vector<std::string> names_of(const typename Model::config& c) {
  Model m(c);
  visitor<T> v;
  m.visit(v);
  std::vector<std::string> names;
  for (const auto& e : v.params()) names.push_back(e.name);
  CHECK(v.param_count() == Model::count(c, 6).params);
  return names;
}
/// What stands before `part` in the names that have it: "blocks.3" for "blocks.3.moe.router.weight" and ".moe.".
std::set<std::string> with_part(const std::vector<std::string>& names, const std::string& part) {
  std::set<std::string> found;
  for (const std::string& name : names)
    if (const auto at = name.find(part); at != name.npos) found.insert(name.substr(0, at));
  return found;
}
using places = std::set<std::string>;

/// Along random directions and at coordinates.  Small steps where a ReLU or a maximum has a kink.
template <class Model>
void check_gradients(const typename Model::config& c, index rows, bool kinks) {
  testing::check_options o{
      .rows = rows, .seed = 3, .step = kinks ? 1e-6 : 1e-5, .gradient = kinks ? 1e-5 : 1e-6, .param_scale = 0.6};
  testing::check_report report;
  testing::detail::check_gradients<Model>(c, o, report);
}

using dense_mlp = nn::named<"mlp", nn::mlp_block<T>>;
constexpr nn::vit_sizes tiny_vit(bool class_token) {
  nn::vit_sizes s;
  s.channels = 2, s.height = s.width = 4, s.patch = 2, s.dim = 8, s.heads = 2, s.depth = 4, s.classes = 3, s.mlp = 12;
  s.class_token = class_token;
  return s;
}

TEST_CASE("vit: every placement puts experts into these blocks and no other, with their gradients") {
  using moe = moe_of<token_experts>;
  using model = nn::mixed_vit<dense_mlp, moe>;
  typename moe::config experts;
  experts.dim = 8, experts.hidden = 6, experts.experts = 3;
  const std::pair<const char*, places> all[] = {{"every-2", {"blocks.1", "blocks.3"}},
                                                {"last-2", {"blocks.2", "blocks.3"}},
                                                {"last-odd-1", {"blocks.3"}},
                                                {"0+2", {"blocks.0", "blocks.2"}},
                                                {"head", {}}};
  bool class_token = false;
  for (const auto& [name, blocks] : all) {
    CAPTURE(name);
    const nn::vit_sizes s = tiny_vit(class_token = !class_token);
    const auto c = nn::mixed_vit_config<dense_mlp, moe>(s, experts, placement::named(name, s.depth));
    const auto names = names_of<model>(c);
    CHECK(with_part(names, ".moe.router") == blocks);
    places others{"blocks.0", "blocks.1", "blocks.2", "blocks.3"};
    for (const std::string& b : blocks) others.erase(b);
    CHECK(with_part(names, ".mlp.fc1.weight") == others);
    CHECK(model::count(c, 6).expert_macs == static_cast<index>(blocks.size()) * 6 * s.tokens() * 2 * 8 * 6);
    check_gradients<model>(c, 6, false);
  }
}

TEST_CASE("vit: experts in the head alone") {
  using head = moe_of<head_experts>;
  using blocks = nn::repeat<nn::encoder_block<dense_mlp>>;
  using model = nn::vit_of<blocks, T, cpu, head>;
  const nn::vit_sizes s = tiny_vit(true);
  typename head::config experts;
  experts.dim = 8, experts.hidden = 5, experts.experts = 3, experts.classes = 3;
  const auto c = nn::vit_of_config<blocks, T, cpu, head>(s, std::get<2>(nn::vit_config<dense_mlp>(s).parts), experts);
  const auto names = names_of<model>(c);
  CHECK(with_part(names, "moe.router") == places{""});
  CHECK(with_part(names, ".mlp.fc2.bias").size() == 4);
  CHECK(with_part(names, "head.").empty());
  CHECK(model::count(c, 6).routed_macs == 6 * (8 * 5 + 5 * 3));
  check_gradients<model>(c, 6, false);
}

typename conv_moe::config conv_experts(const nn::map_sizes& m, index experts = 3) {
  typename conv_moe::config c;
  c.dim = m.channels, c.hidden = 8, c.experts = experts, c.unit_rows = m.pixels(), c.map_height = m.height;
  return c;
}

TEST_CASE("resnet: experts in place of the convolutions of blocks that keep their maps") {
  using special = nn::expert_block<conv_moe>;
  using model = nn::resnet_features<T, cpu, nn::resnet_blocks<special>>;
  const nn::resnet_sizes s{.channels = 1, .height = 9, .width = 8, .base = 2};
  const auto config = [&](placement where) {
    return nn::mixed_resnet_config<special>(
        s, where, [](const nn::map_sizes& m) { return nn::expert_block_config<conv_moe>(conv_experts(m), m); });
  };
  CHECK(with_part(names_of<model>(config(placement::every(2, s.depth()))), ".moe.router") ==
        places{"layer1.1", "layer2.1", "layer3.1", "layer4.1"});
  CHECK(with_part(names_of<model>(config(placement::at({0}, 8))), ".moe.router") == places{"layer1.0"});
  CHECK(with_part(names_of<model>(config({})), ".moe.router").empty());
  const auto c = config(placement::last_odd(2, s.depth()));
  const auto names = names_of<model>(c);
  CHECK(with_part(names, ".moe.router") == places{"layer3.1", "layer4.1"});
  CHECK(with_part(names, ".bn2.weight") ==
        places{"layer1.0", "layer1.1", "layer2.0", "layer2.1", "layer3.0", "layer4.0"});
  // Maps of 3 x 2 and 8 channels, of 2 x 1 and 16.
  CHECK(model::count(c, 5).routed_macs == 5 * 2 * 9 * 8 * (6 * 8 + 2 * 16));
  CHECK(model::count(config({}), 5) == nn::resnet_features<T>::count(nn::resnet_features_config<T>(s), 5));
  check_gradients<model>(c, 6, true);

  CHECK_THROWS_WITH_AS(
      config(placement::at({4})),
      "resnet: experts in block 4, the first of stage 3, which takes maps of 4 channels to 8; experts keep the "
      "size of their maps",
      error);
  CHECK_THROWS_WITH_AS(config(placement::at({8})), "resnet: experts in block 8, the last of 8 blocks is 7", error);
  // Longer stages: ResNet-34 begins its stages with the blocks 3, 7 and 13.
  const nn::resnet_sizes longer{.base = 2, .blocks = {3, 4, 6, 3}};
  const auto any = [](const nn::map_sizes& m) { return nn::expert_block_config<conv_moe>(conv_experts(m), m); };
  CHECK(with_part(names_of<model>(nn::mixed_resnet_config<special>(longer, placement::named("2+6+8+15", 16), any)),
                  ".moe.router") == places{"layer1.2", "layer2.3", "layer3.1", "layer4.2"});
  CHECK_THROWS_WITH_AS(nn::mixed_resnet_config<special>(longer, placement::every(2, 16), any),
                       doctest::Contains("block 3, the first of stage 2"), error);
}

TEST_CASE("resnet: experts in place of the second convolution of a block") {
  using model = nn::half_expert_block<conv_moe>;
  const nn::map_sizes m{6, 3, 4};
  const auto c = nn::half_expert_block_config<conv_moe>(conv_experts(m), m);
  const auto names = names_of<model>(c);
  CHECK(with_part(names, "moe.router") == places{""});
  CHECK(with_part(names, "conv1.weight") == places{"", "moe.experts.0.", "moe.experts.1.", "moe.experts.2."});
  check_gradients<model>(c, 5 * m.pixels(), true);
}

constexpr nn::small_cnn_sizes tiny_cnn{
    .channels = 2, .height = 8, .width = 12, .base = 8, .blocks = 3, .hidden = 8, .classes = 3};
template <class Moe>
typename Moe::config cnn_experts(index experts) {
  typename Moe::config c;
  c.dim = tiny_cnn.body(), c.hidden = tiny_cnn.hidden, c.experts = experts, c.unit_rows = tiny_cnn.pixels();
  c.map_height = tiny_cnn.map_height();
  return c;
}

/// The dense network, and the same with one expert in every block that is made of its dense block.
template <class Path, class Moe>
void check_same(const typename Path::config& path, const typename Moe::config& one) {
  using mlp = nn::named<"mlp", Path>;
  using model = nn::mixed_small_cnn<mlp, Moe>;
  const index images = 3, classes = tiny_cnn.classes;
  const auto in = [&](placement where) { return nn::mixed_small_cnn_config<mlp, Moe>(tiny_cnn, path, one, where); };
  workspace<model> dense(model(in({})), {.max_rows = images, .seed = 4}),
      sparse(model(in(placement::every(1, 3))), {.max_rows = images, .seed = 5});
  std::vector<double> x(static_cast<std::size_t>(images * dense.module().in_cols())),
      y(static_cast<std::size_t>(images * classes)), z(y.size());
  auto values = dense.values_on_host();
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] += 0.2 * std::sin(1.7 * static_cast<double>(i));  // the head begins with zeros
  dense.set_values(values), dense.refresh();
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::cos(0.3 * static_cast<double>(i));
  const auto report = upcycle(dense, sparse);
  CHECK(report.fresh == 3);  // routers
  dense.forward({x.data(), images, dense.module().in_cols()}, {y.data(), images, classes});
  sparse.forward({x.data(), images, dense.module().in_cols()}, {z.data(), images, classes});
  double largest = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    CHECK(z[i] == doctest::Approx(y[i]).epsilon(1e-12));
    largest = std::max(largest, std::abs(y[i]));
  }
  CHECK(largest > 0.1);
  const cost a = model::count(in({}), images), b = model::count(in(placement::every(1, 3)), images);
  CHECK(b.params == a.params + 3 * tiny_cnn.body());
  CHECK(b.macs == a.macs + 3 * images * tiny_cnn.body());
  CHECK(a.routed_macs == 0);
}

TEST_CASE("small_cnn: a dense block computes what the expert made of it does") {
  check_same<nn::conv_path<T>, conv_moe>(nn::conv_path_config<T>(tiny_cnn), cnn_experts<conv_moe>(1));
  check_same<nn::depthwise_path<T>, depthwise_moe>(nn::depthwise_path_config<T>(tiny_cnn),
                                                   cnn_experts<depthwise_moe>(1));
}

/// The whole network, dense and with experts in two of its three blocks; `kernel` is a tensor of every dense block.
template <class Path, class Moe>
void check_network(const typename Path::config& path, const std::string& kernel) {
  using mlp = nn::named<"mlp", Path>;
  using model = nn::mixed_small_cnn<mlp, Moe>;
  for (const bool experts : {false, true}) {
    CAPTURE(experts);
    const auto c = nn::mixed_small_cnn_config<mlp, Moe>(
        tiny_cnn, path, cnn_experts<Moe>(3), experts ? placement::named("0+2", tiny_cnn.blocks) : placement());
    const auto names = names_of<model>(c);
    CHECK(with_part(names, ".moe.router") == (experts ? places{"body.0", "body.2"} : places{}));
    CHECK(with_part(names, ".mlp." + kernel) ==
          (experts ? places{"body.1"} : places{"body.0", "body.1", "body.2"}));
    check_gradients<model>(c, 5, true);
  }
}

TEST_CASE("small_cnn: a network of standard convolutions, dense and with experts, with its gradients") {
  check_network<nn::conv_path<T>, conv_moe>(nn::conv_path_config<T>(tiny_cnn), "conv1.weight");
  using mlp = nn::named<"mlp", nn::conv_path<T>>;
  nn::small_cnn_sizes odd = tiny_cnn;
  odd.width = 10;
  CHECK_THROWS_WITH_AS(
      (nn::mixed_small_cnn_config<mlp, conv_moe>(odd, nn::conv_path_config<T>(odd), cnn_experts<conv_moe>(3), {})),
      "small_cnn: images of 8 x 10 cannot be halved twice", error);
}
TEST_CASE("small_cnn: a depthwise network, dense and with experts, with its gradients") {
  check_network<nn::depthwise_path<T>, depthwise_moe>(nn::depthwise_path_config<T>(tiny_cnn), "dwconv.weight");
}

// The dense network of the recorded run of experiment A (docs/results/paper_a.md) and its hidden width, by hand: stages
// with norms, per block the norm and both convolutions with theirs, head.
constexpr nn::small_cnn_sizes recorded(index hidden) { return {.base = 16, .hidden = hidden}; }
constexpr cost standard(index hidden) {
  using dense = nn::named<"mlp", nn::conv_path<float>>;
  return nn::small_cnn<dense>::count(
      nn::small_cnn_config<dense>(recorded(hidden), nn::conv_path_config<float>(recorded(hidden))), 1);
}
constexpr cost depthwise(index hidden) {
  using dense = nn::named<"mlp", nn::depthwise_path<float>>;
  return nn::small_cnn<dense>::count(
      nn::small_cnn_config<dense>(recorded(hidden), nn::depthwise_path_config<float>(recorded(hidden))), 1);
}
constexpr index around = 3 * 16 * 9 + 2 * 16 + 16 * 32 * 9 + 2 * 32 + 2 * 2 * 32 + 330;
constexpr index around_macs = 32 * 32 * 3 * 16 * 9 + 16 * 16 * 16 * 32 * 9 + 320;
static_assert(standard(16).params == around + 2 * (2 * 32 * 16 * 9 + 2 * 16 + 32) &&
              standard(16).params == 24'218 - 2 * 32);
static_assert(standard(16).macs == around_macs + 2 * 64 * 2 * 32 * 16 * 9);
static_assert(depthwise(48).params == around + 2 * (32 * 9 + 32 + 2 * 32 + 2 * 32 * 48 + 48 + 32));
static_assert(depthwise(48).macs == around_macs + 2 * 64 * (32 * 9 + 2 * 32 * 48));

}  // namespace
}  // namespace placed
}  // namespace polymoe
