// Checkpoints of a trainer: it can be stopped and resumed at any step with the same bits, and refuses checkpoints that
// do not fit or are damaged.
// thread: yes
// with: trainer
#include <doctest/doctest.h>

#include "memory_store.hpp"
#include "trainer_run.hpp"

namespace polymoe {
namespace {

using namespace tiny_run;

TEST_CASE("trainer: stopped in the middle of an epoch and resumed by a new object, every bit is the same") {
  temp_folder folder;
  const train_test data = tiny::images(70);  // 4 batches of 16, six images are left out of every epoch
  run whole(tiny::moe_model<float>(), tiny::options(), data);
  steps(whole, 11);
  const auto want = tiny::everything(whole, folder.file("whole"));
  CHECK(want.count("state.blocks.0.moe.router.bias") == 1);
  CHECK(want.count("optimizer.square.blocks.1.moe.router.weight") == 1);

  for (const index stop : {0, 3, 4, 10}) {
    CAPTURE(stop);
    run first(tiny::moe_model<float>(), tiny::options(), data);
    steps(first, stop);
    first.save(folder.file("part"), {{"note", "kept"}});
    run second(tiny::moe_model<float>(), tiny::options(3, 2), data);
    steps(second, 6);  // what it did before does not matter
    CHECK(second.load(folder.file("part")).at("note") == "kept");
    CHECK(second.step_count() == stop);
    CHECK(second.epoch_summary().seconds == first.epoch_summary().seconds);
    check_equal(second.epoch_summary(), first.epoch_summary());
    steps(second, 11 - stop);
    CHECK(tiny::difference(want, tiny::everything(second, folder.file("second"))) == "");
    check_equal(second.epoch_summary(), whole.epoch_summary());
    check_equal(second.evaluate(), whole.evaluate());
  }
}

TEST_CASE("trainer: accumulated and averaged, stopped and resumed, every bit is the same") {
  temp_folder folder;
  const train_test data = tiny::images(70);
  train_options o = tiny::options();
  o.batch = 8, o.accumulate = 2, o.ema = 0.9;
  run whole(tiny::moe_model<float>(), o, data);
  CHECK(whole.steps_per_epoch() == 4);
  steps(whole, 7);
  run first(tiny::moe_model<float>(), o, data);
  steps(first, 3);
  first.save(folder.file("part"));
  run second(tiny::moe_model<float>(), o, data);
  second.load(folder.file("part"));
  steps(second, 4);
  const auto want = tiny::everything(whole, folder.file("whole"));
  CHECK(want.count("average.head.weight") == 1);
  CHECK(tiny::difference(want, tiny::everything(second, folder.file("second"))) == "");
}

TEST_CASE(
    "trainer: images in a store give the bits of images in memory, also after a resume in the middle of an epoch") {
  const temp_folder folder;
  const train_test memory = tiny::images(40, 9);
  const train_test disk{stored(memory.train), stored(memory.test)};
  const train_options o = tiny::options(2);
  run want(tiny::moe_model<float>(), o, memory), got(tiny::moe_model<float>(), o, disk);
  steps(want, 3), steps(got, 3);
  CHECK(same_bits(numbers(want), numbers(got)));
  check_equal(want.evaluate(), got.evaluate());
  got.save(folder.file("middle"));
  run resumed(tiny::moe_model<float>(), o, disk);
  resumed.load(folder.file("middle"));
  steps(want, 1), steps(resumed, 1);
  CHECK(same_bits(numbers(want), numbers(resumed)));
}

TEST_CASE("trainer: a checkpoint of another run or model is refused with both, and changes nothing") {
  temp_folder folder;
  const train_test data = tiny::images();
  const std::string path = folder.file("c");
  {
    run t(tiny::moe_model<float>(), tiny::options(), data);
    steps(t, 2);
    t.save(path);
  }
  const auto refused = [&](run& t) {
    steps(t, 1);
    const auto before = numbers(t);
    const std::string message = message_of<error>([&] { t.load(path); });
    CHECK(same_bits(numbers(t), before));
    CHECK(has(message, path));
    return message;
  };
  const auto with = [&](auto change, const train_test& d) {
    train_options o = tiny::options();
    change(o);
    run t(tiny::moe_model<float>(), o, d);
    return refused(t);
  };
  std::string m = with([](auto& o) { o.seed = 99; }, data);
  CHECK((has(m, "seed 3") && has(m, "seed 99")));
  m = with([](auto& o) { o.batch = 8; }, data);
  CHECK((has(m, "batch 16") && has(m, "batch 8")));
  m = with([](auto& o) { o.epochs = 5; }, data);
  CHECK((has(m, "epochs 3") && has(m, "epochs 5")));
  m = with([](auto& o) { o.learning_rate = 0.25; }, data);
  CHECK((has(m, "lr 0.005") && has(m, "lr 0.25")));
  m = with([](auto& o) { o.augment.cutout = 2; }, data);
  CHECK((has(m, "cutout 0") && has(m, "cutout 2")));
  m = with([](auto&) {}, tiny::images(128));
  CHECK((has(m, "images 64") && has(m, "images 128")));

  run wide(tiny::moe_model<float>(24), tiny::options(), data);
  m = refused(wide);
  CHECK((has(m, "patch_embed.proj.weight") && has(m, "[16, 1, 2, 2]") && has(m, "[24, 1, 2, 2]")));
  CHECK_FALSE(has(message_of<error>([&] { wide.load(folder.file("none")); }), "step"));
}

TEST_CASE("trainer: a damaged checkpoint is refused and changes nothing") {
  temp_folder folder;
  const train_test data = tiny::images();
  run t(tiny::moe_model<float>(), tiny::options(), data);
  steps(t, 2);
  t.save(folder.file("good"));
  steps(t, 3);
  const std::string good = folder.get("good");
  const auto before = numbers(t);
  const auto refused = [&](const std::string& bytes) {
    const std::string path = folder.put("bad", bytes);
    const std::string message = message_of<error>([&] { t.load(path); });
    return has(message, path) && same_bits(numbers(t), before);
  };
  index cases = 0;
  for (std::size_t at = 0; at < good.size(); at += good.size() / 60 + 1, ++cases) {
    CAPTURE(at);
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
    CHECK(refused(bytes));
    CHECK(refused(good.substr(0, at)));
  }
  CHECK(cases > 50);
  CHECK(refused(good + '\0'));

  // Files that are whole, with right checksums, and wrong inside.
  const safetensors_file file(folder.file("good"));
  const auto rewritten = [&](auto change, const char* step = nullptr) {
    std::vector<tensor_ref> tensors = file.tensors();
    auto meta = file.metadata();
    if (step) meta["polymoe.step"] = step;
    change(tensors);
    write_safetensors(folder.file("bad"), tensors, meta);
    return refused(folder.get("bad"));
  };
  const auto replace = [](std::vector<tensor_ref>& all, const char* name, const std::vector<double>& with) {
    for (tensor_ref& x : all)
      if (x.name == name) x = make_tensor(name, {static_cast<index>(with.size())}, with.data());
  };
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> sums;
  for (const std::vector<double>& bad : {std::vector<double>{},
                                         {1, 1, 1},
                                         {nan, 1, 1, 0},
                                         {-1, 1, 1, 0},
                                         {1, 1, 1, 1e300},
                                         {1, 1, 1, 0.5},
                                         {1, 1, 1, 0, 7},
                                         {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1e9}}) {
    CAPTURE(bad.size());
    sums = bad;
    CHECK(rewritten([&](auto& all) { replace(all, "trainer.sums", sums); }));
  }
  CHECK(rewritten([&](auto& all) { replace(all, "trainer.seconds", sums); }));
  CHECK(rewritten([](auto& all) { all.erase(all.begin() + 3); }));
  CHECK(rewritten([&](auto& all) { all.push_back(make_tensor("more", {1}, before.data())); }));
  for (const char* step : {"", "x", "2x", "-1", "13", "99999999999999999999"}) {
    CAPTURE(step);
    CHECK(rewritten([](auto&) {}, step));
  }
  CHECK_FALSE(rewritten([](auto&) {}));  // unchanged it is accepted
  CHECK(t.step_count() == 2);
}

TEST_CASE(
    "trainer: a run of so many steps ends in the middle of an epoch, which counts as one; the rate ends with it") {
  const train_test data = tiny::images();  // 4 steps an epoch
  train_options o = tiny::options(100);
  o.steps = 6;
  run t(tiny::moe_model<float>(), o, data);
  CHECK((t.total_steps() == 6 && t.total_epochs() == 2));
  temp_folder folder;
  CHECK(t.advance(10).images == 16);
  CHECK((t.epoch() == 1 && t.step_in_epoch() == 0 && !t.finished()));
  t.advance(1);
  CHECK((t.epoch() == 1 && t.step_in_epoch() == 1));
  t.save(folder.file("part"));
  const double last = t.advance(10).learning_rate;  // one step is left
  CHECK((t.finished() && t.step_count() == 6 && t.epoch() == 2 && t.step_in_epoch() == 0));
  CHECK(t.epoch_summary().images == 32);
  CHECK(message_of<error>([&] { t.step(); }) == "trainer: all 6 steps are done");
  CHECK((last > 0 && last < 0.5 * o.learning_rate));  // of the cosine over 6 steps; over 400 it has hardly begun
  run other(tiny::moe_model<float>(), o, data);
  other.load(folder.file("part"));
  CHECK(other.step_in_epoch() == 1);
  other.step();
  CHECK(tiny::difference(tiny::everything(t, folder.file("a")), tiny::everything(other, folder.file("b"))) == "");
  run done(tiny::moe_model<float>(), o, data);
  done.load(folder.file("a"));
  CHECK((done.finished() && done.epoch() == 2));
  o.steps = 7;
  run longer(tiny::moe_model<float>(), o, data);
  const std::string refused = message_of<error>([&] { longer.load(folder.file("part")); });
  CHECK_MESSAGE((has(refused, "steps 6") && has(refused, "steps 7")), refused);
}

}  // namespace
}  // namespace polymoe
