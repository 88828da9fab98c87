// Running statistics through the trainer: a step commits them, evaluation uses and keeps them, a checkpoint holds them.
// with: rules
#include <doctest/doctest.h>

#include <polymoe/nn/batch_norm.hpp>
#include <polymoe/nn/linear.hpp>
#include <polymoe/nn/sequential.hpp>

#include "temp_folder.hpp"
#include "tiny_vit.hpp"

namespace polymoe {
namespace {

using network = nn::sequential<nn::named<"fc1", nn::linear<float>>, nn::named<"bn", nn::batch_norm<float>>,
                               nn::named<"fc2", nn::linear<float>>>;

TEST_CASE("the trainer commits running statistics once a step and saves them") {
  const train_test data = tiny::images();
  const network::config c{{{64, 12}, {12}, {12, tiny::classes}}};
  trainer<network> t(network(c), tiny::options(1), data);
  const auto first = t.work().state_on_host();
  t.step();
  const auto after = t.work().state_on_host();
  REQUIRE(t.work().state_entries()[0].name == "bn.running_mean");
  int moved = 0;
  for (index k = 0; k < 12; ++k) moved += after[static_cast<std::size_t>(k)] != first[static_cast<std::size_t>(k)];
  CHECK(moved == 12);
  t.evaluate();
  CHECK(t.work().state_on_host() == after);
  const temp_folder folder;
  const std::string path = folder.file("model.safetensors");
  t.save(path);
  trainer<network> resumed(network(c), tiny::options(1), data);
  resumed.load(path);
  CHECK(resumed.work().state_on_host() == after);
  CHECK(resumed.evaluate().loss == t.evaluate().loss);
}

TEST_CASE("a step that is refused leaves running statistics alone, and so does the next good one's memory of it") {
  const train_test data = tiny::images();
  const network::config c{{{64, 12}, {12}, {12, tiny::classes}}};
  trainer<network> t(network(c), tiny::options(1), data);
  t.step();
  const auto before = t.work().state_on_host();
  // A weight that is not a number: every statistic of its column is none either.
  const float weight = std::exchange(t.work().values().ptr[0][0], std::numeric_limits<float>::quiet_NaN());
  t.work().refresh();
  CHECK_THROWS_AS(t.step(), error);
  CHECK(t.work().state_on_host() == before);
  t.work().values().ptr[0][0] = weight;
  t.work().refresh();
  t.step();
  for (const float v : t.work().state_on_host()) CHECK(std::isfinite(v));
}

}  // namespace
}  // namespace polymoe
