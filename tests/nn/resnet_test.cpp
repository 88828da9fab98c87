// nn::resnet and nn::branches: sizes of ResNet-18 when the code is compiled, names as in torchvision, the module
// contract.
// with: convolutions
#include <doctest/doctest.h>

#include <polymoe/nn/resnet.hpp>
#include <polymoe/testing/check_module.hpp>

namespace polymoe {
namespace {

// The backbone of paper B: ResNet-18 for 32 x 32 images, without a head.
constexpr cost resnet18 = nn::resnet_features<float>::count(nn::resnet_features_config<float>({}), 1);
static_assert(resnet18.params == 11'168'832);
static_assert(resnet18.macs == 555'417'600);
// ResNet-34 has 21,284,672 parameters with its 7 x 7 stem and without its head; a 3 x 3 stem has 7,680 fewer.
constexpr nn::resnet_sizes sizes34{.blocks = {3, 4, 6, 3}};
constexpr cost resnet34 = nn::resnet_features<float>::count(nn::resnet_features_config<float>(sizes34), 1);
static_assert(resnet34.params == 21'284'672 - 64 * 3 * (49 - 9));

template <class T>
using projected =
    nn::branches<nn::sequential<nn::named<"a", nn::linear<T>>, nn::activation<act::silu, T>, nn::linear<T>>,
                 nn::named<"side", nn::linear<T>>>;
template <class T>
using pooled = nn::branches<nn::sequential<nn::linear<T>, nn::pool<T>>, nn::named<"side", nn::pool<T>>>;

TEST_CASE("branches keep the module contract, with and without a change of width and of rows") {
  testing::check_module<projected>(
      [](auto t) {
        return typename projected<decltype(t)>::config{{{{5, 4}, {4}, {4, 3}}}, {5, 3}};
      },
      {.rows = 9}, 2);
  testing::check_module<pooled>(
      [](auto t) {
        return typename pooled<decltype(t)>::config{{{{5, 5}, {5, 3}}}, {5, 3}};
      },
      {.rows = 12}, 3);
}

TEST_CASE("branches say which widths or rows do not meet") {
  using pair = nn::branches<nn::linear<float>, nn::named<"side", nn::linear<float>>>;
  CHECK_THROWS_WITH_AS(pair({{3, 4}, {3, 5}}), doctest::Contains("maps width 3 to 4, the other width 3 to 5"), error);
  using uneven = nn::branches<nn::linear<float>, nn::named<"side", nn::pool<float>>>;
  workspace<uneven> w(uneven({{3, 3}, {3, 2}}), {.max_rows = 4});
  float x[12] = {}, y[12];
  CHECK_THROWS_WITH_AS(w.forward({x, 4, 3}, {y, 4, 3}), doctest::Contains("4 rows become 4 in one branch and 2"),
                       error);
}

template <class T>
using tiny_resnet = nn::resnet<nn::named<"fc", nn::linear<T>>>;
template <class T>
typename tiny_resnet<T>::config tiny_config() {
  const nn::resnet_sizes s{.channels = 2, .height = 9, .width = 8, .base = 3};
  return {{nn::resnet_features_config<T>(s), {s.features(), 3}}};
}

TEST_CASE("a small ResNet keeps the module contract, in training and in evaluation") {
  for (const auto mode : {run_mode::train, run_mode::eval})
    testing::check_module<tiny_resnet>([](auto t) { return tiny_config<decltype(t)>(); },
                                       {.rows = 6,
                                        .step = 1e-6,
                                        .gradient = 1e-5,
                                        .float_error = 1e-3,
                                        .bf16_error = 0.5,
                                        .param_scale = 0.6,
                                        .mode = mode},
                                       2);
}

TEST_CASE("parameters are named as in torchvision") {
  tiny_resnet<float> m(tiny_config<float>());
  visitor<float> v;
  m.visit(v);
  std::vector<std::string> names;
  for (const auto& e : v.params()) names.push_back(e.name);
  const auto has = [&](const char* name) { return std::count(names.begin(), names.end(), name) == 1; };
  CHECK(names.front() == "conv1.weight");
  CHECK(names.back() == "fc.bias");
  for (const char* name :
       {"bn1.weight", "layer1.0.conv1.weight", "layer1.1.bn2.bias", "layer2.0.conv1.weight",
        "layer2.0.downsample.0.weight", "layer2.0.downsample.1.bias", "layer2.1.conv2.weight", "layer4.1.bn2.weight"})
    CHECK_MESSAGE(has(name), name);
  CHECK(names.size() == 62);
  CHECK(v.param_count() == tiny_resnet<float>::count(tiny_config<float>(), 1).params);
  CHECK(v.states().size() == 3 * 20);
}

}  // namespace
}  // namespace polymoe
