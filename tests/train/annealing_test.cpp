// A trainer with a temperature schedule: every step has its temperature, the entropy floor stops the descent at the
// same step however the loop was cut or interrupted, and checkpoints carry it bit for bit.
// with: trainer
#include <doctest/doctest.h>

#include "temp_folder.hpp"
#include "tiny_vit.hpp"

namespace polymoe {
namespace {

using annealed_run = trainer<tiny::moe_vit<float>>;

train_options annealed(double floor, index lag = 3) {
  train_options o = tiny::options();
  o.temperature = temperature_schedule{.how = temperature_schedule::shape::linear,
                                       .start = 1.0,
                                       .least = 0.1,
                                       .total = 10,
                                       .entropy_floor = floor,
                                       .entropy_lag = lag};
  return o;
}
annealed_run made(const train_options& o, const train_test& data) {
  return annealed_run(tiny::moe_model<float>(), o, data);
}
/// A floor that step 4 is the first to be below.
double floor_of(const train_test& data) {
  annealed_run look = made(annealed(0), data);
  std::vector<double> entropy;
  for (index i = 0; i < 5; ++i) entropy.push_back(look.step().entropy);
  const double floor = 0.5 * (entropy[3] + entropy[4]);
  REQUIRE(floor < *std::min_element(entropy.begin(), entropy.begin() + 4));
  return floor;
}

}  // namespace

TEST_CASE(
    "annealing: steps have the schedule's temperature, evaluation that of the last step, and without one nothing "
    "changes") {
  const train_test data = tiny::images();
  annealed_run t = made(annealed(0), data);
  CHECK(t.work().step().temperature == 1.0f);
  double first_entropy = 0, entropy = 0;
  for (index i = 0; i < 12; ++i) {
    const train_step s = t.step();
    CHECK(s.temperature == (*annealed(0).temperature)(i));
    CHECK(t.work().step().temperature == static_cast<float>(s.temperature));
    entropy = s.entropy;
    if (i == 0) first_entropy = entropy;
  }
  CHECK((entropy > 0 && entropy < first_entropy));  // a tenth of the temperature decides more
  t.evaluate();
  CHECK(t.work().step().temperature == 0.1f);
  annealed_run plain = made(tiny::options(), data);
  plain.work().step().temperature = 0.7f;
  CHECK(plain.step().temperature == doctest::Approx(0.7));
  CHECK(plain.identity().find("temperature") == std::string::npos);
}

TEST_CASE("annealing: the floor acts entropy_lag steps after it was passed") {
  const train_test data = tiny::images();
  const double floor = floor_of(data);
  const temperature_schedule s = *annealed(floor).temperature;
  annealed_run t = made(annealed(floor), data);
  for (index i = 0; i < 12; ++i) CHECK(t.step().temperature == (i < 4 + 3 ? s(i) : std::max(s(i), s(4))));
}

TEST_CASE("annealing: cut in any way, stopped and resumed anywhere, every bit is the same") {
  temp_folder folder;
  const train_test data = tiny::images(70);
  const train_options o = annealed(floor_of(data));
  annealed_run whole = made(o, data);
  std::vector<double> tau;
  for (index i = 0; i < 12; ++i) tau.push_back(whole.step().temperature);
  CHECK(tau[11] > 0.1);  // it was stopped
  CHECK(tau[11] < 1.0);
  const auto want = tiny::everything(whole, folder.file("whole"));
  CHECK(want.count("trainer.temperature") == 1);
  for (const index stop : {0, 1, 3, 4, 6, 8, 11}) {
    CAPTURE(stop);
    annealed_run first = made(o, data);
    while (first.step_count() < stop) first.advance(stop - first.step_count());
    first.save(folder.file("part"));
    annealed_run second = made(o, data);
    second.advance(2);  // what it did before does not matter
    second.load(folder.file("part"));
    if (stop > 0)
      CHECK(second.work().step().temperature == static_cast<float>(tau[static_cast<std::size_t>(stop - 1)]));
    while (!second.finished()) {
      const double last = second.advance(3).temperature;
      CHECK(last == tau[static_cast<std::size_t>(second.step_count() - 1)]);
    }
    CHECK(tiny::difference(want, tiny::everything(second, folder.file("second"))) == "");
  }
  // Another schedule is another run; one without a floor keeps nothing.
  annealed_run other = made(annealed(1.2), data), bare = made(annealed(0), data);
  CHECK(message_of<error>([&] { other.load(folder.file("whole")); }).find("entropy floor 1.2") != std::string::npos);
  CHECK(tiny::everything(bare, folder.file("bare")).count("trainer.temperature") == 0);
}

}  // namespace polymoe
