// The trainer: it learns, with the same bits for any number of threads, evaluation counts right and leaves no trace,
// and what does not fit is refused.  Checkpoints: checkpoint_test.cpp.
// thread: yes
// with: trainer
#include <doctest/doctest.h>

#include "support/close_to.hpp"
#include "trainer_run.hpp"

namespace polymoe {
namespace {

using moe_test::close_to;
using namespace tiny_run;

TEST_CASE("trainer: a tiny sparse ViT learns 64 images by heart") {
  const train_test data = tiny::images();
  train_options o = tiny::options(30);
  o.augment = {};
  run t(tiny::moe_model<float>(), o, data);
  CHECK(t.steps_per_epoch() == 4);
  double most_dropped = 0, first_loss = 0, balance = 0;
  while (!t.finished()) {
    const train_step s = t.step();
    REQUIRE(std::isfinite(s.loss));
    REQUIRE(s.has_experts);
    CHECK(s.images == 16);
    CHECK(s.grad_norm > 0);
    CHECK(s.max_over_mean >= 1);
    if (t.step_count() == 1) first_loss = s.loss;
    most_dropped = std::max(most_dropped, s.drop_rate);
    balance = std::max(balance, s.balance_loss);
  }
  CHECK(first_loss == doctest::Approx(std::log(4.0)).epsilon(1e-6));  // the head begins with zeros
  CHECK(most_dropped > 0);  // a capacity of 1.25 binds while the router is still unbalanced
  CHECK(most_dropped < 0.5);
  CHECK(balance > 0);
  const train_summary s = t.epoch_summary();
  CHECK(s.images == 64);
  CHECK(s.accuracy > 0.95);
  CHECK(s.loss < 0.3);
  const train_summary test = t.evaluate();
  CHECK(test.accuracy > 0.95);  // the kinds are far apart
  CHECK(message_of<error>([&] { t.step(); }) == "trainer: all 120 steps are done");
}

TEST_CASE("trainer: two micro-batches of 8 make the step of one batch of 16 when nothing couples the images") {
  const train_test data = tiny::images(64);
  using twin = trainer<nn::vit<tiny::dense_mlp<float>>>;
  const auto make = [&](index batch, index accumulate) {
    tiny::dense_mlp<float>::config mlp;
    mlp.dim = 16, mlp.hidden = 32;
    train_options o = tiny::options();
    o.batch = batch, o.accumulate = accumulate;
    return std::make_unique<twin>(
        nn::vit<tiny::dense_mlp<float>>(nn::vit_config<tiny::dense_mlp<float>>(tiny::sizes(), mlp)), o, data);
  };
  const auto one = make(16, 1), two = make(8, 2), other = make(8, 1);
  for (int i = 0; i < 6; ++i) {
    const train_step a = one->step(), b = two->step();
    other->step();
    CHECK(a.images == b.images);
    CHECK(a.loss == doctest::Approx(b.loss).epsilon(1e-4));
    CHECK(a.grad_norm == close_to(b.grad_norm, 1e-3));
  }
  double apart = 0, moved = 0;
  const auto x = one->work().values(), y = two->work().values(), z = other->work().values();
  for (index i = 0; i < x.cols; ++i) {
    apart += std::pow(x.get(0, i) - y.get(0, i), 2.0);
    moved += std::pow(x.get(0, i) - z.get(0, i), 2.0);
  }
  CHECK(std::sqrt(apart) < 0.02 * std::sqrt(moved));  // rounding only, against a really different step
}

TEST_CASE("trainer: averaged weights are the moving average, and evaluating them puts the trained ones back") {
  const train_test data = tiny::images(64);
  train_options o = tiny::options();
  o.ema = 0.8;
  run t(tiny::moe_model<float>(), o, data);
  const auto values = t.work().values();
  std::vector<double> average(values.ptr[0], values.ptr[0] + values.cols);
  for (int step = 0; step < 9; ++step) {
    t.step();
    const double d = std::min(0.8, (1.0 + step) / (10.0 + step));
    for (std::size_t i = 0; i < average.size(); ++i) average[i] = d * average[i] + (1 - d) * values.ptr[0][i];
  }
  const std::vector<float> before = numbers(t);
  const train_summary trained = t.evaluate(), averaged = t.evaluate_average();
  CHECK(same_bits(before, numbers(t)));
  check_equal(trained, t.evaluate());
  CHECK(trained.loss != averaged.loss);
  // The same evaluation with the average worked out here.
  run fresh(tiny::moe_model<float>(), o, data);
  for (std::size_t i = 0; i < average.size(); ++i) fresh.work().values().ptr[0][i] = static_cast<float>(average[i]);
  std::copy(t.work().state().begin(), t.work().state().end(), fresh.work().state().begin());
  fresh.work().refresh();
  CHECK(fresh.evaluate().loss == doctest::Approx(averaged.loss).epsilon(1e-4));
  run none(tiny::moe_model<float>(), tiny::options(), data);
  CHECK_THROWS_WITH_AS(none.evaluate_average(), doctest::Contains("it is 0"), error);
}

TEST_CASE("trainer: 1, 2 and 3 threads give the same bits") {
  temp_folder folder;
  const train_test data = tiny::images();
  run one(tiny::moe_model<float>(), tiny::options(), data);
  steps(one, 7);
  const auto want = tiny::everything(one, folder.file("one"));
  const train_summary test = one.evaluate();
  for (const int threads : {2, 3}) {
    CAPTURE(threads);
    run t(tiny::moe_model<float>(), tiny::options(3, threads), data);
    steps(t, 7);
    CHECK(tiny::difference(want, tiny::everything(t, folder.file("t"))) == "");
    check_equal(t.evaluate(), test);
  }
}

TEST_CASE("trainer: mixup, CutMix and RandAugment give the same bits for 1, 2 and 3 threads and after a resume") {
  temp_folder folder;
  const train_test data = tiny::images();
  const auto mixing = [](int threads) {
    train_options o = tiny::options(3, threads);
    o.augment.mixup = 0.25, o.augment.cutmix = 1, o.augment.rand_operations = 2;
    return o;
  };
  run one(tiny::moe_model<float>(), mixing(1), data), plain(tiny::moe_model<float>(), tiny::options(), data);
  steps(one, 5);
  one.save(folder.file("part"));
  steps(one, 2), steps(plain, 7);
  const auto want = tiny::everything(one, folder.file("one"));
  CHECK(tiny::difference(want, tiny::everything(plain, folder.file("plain"))) != "");
  for (const int threads : {2, 3}) {
    run t(tiny::moe_model<float>(), mixing(threads), data);
    steps(t, 7);
    CHECK(tiny::difference(want, tiny::everything(t, folder.file("t"))) == "");
  }
  run resumed(tiny::moe_model<float>(), mixing(1), data);
  resumed.load(folder.file("part"));
  steps(resumed, 2);
  CHECK(tiny::difference(want, tiny::everything(resumed, folder.file("resumed"))) == "");
  const std::string other = message_of<error>([&] { plain.load(folder.file("part")); });
  CHECK((has(other, "mixup 0.25, cutmix 1") && has(other, "rand augment 2 9")));
  // The loss of a step is that of both labels; evaluation mixes nothing.
  CHECK(one.evaluate().images == data.test.size());
  train_options told = mixing(1);
  told.expert_of_class.assign(tiny::classes, 0);
  CHECK(has(message_of<error>([&] { run(tiny::moe_model<float>(), told, data); }),
            "mixup 0.25 and cutmix 1 give it two classes"));
}

TEST_CASE("trainer: every epoch has its own order, the same in every run") {
  const train_test data = tiny::images();
  train_options o = tiny::options();
  o.augment = {};
  run t(tiny::moe_model<float>(), o, data), again(tiny::moe_model<float>(), o, data);
  const auto seen = [](run& r) {
    r.step();
    const auto x = r.images();
    return std::vector<float>(x.ptr[0], x.ptr[0] + x.size());
  };
  const auto first = seen(t);
  CHECK(seen(again) == first);
  steps(t, 3);
  CHECK(t.epoch() == 1);
  CHECK(t.step_in_epoch() == 0);
  CHECK(seen(t) != first);
}

TEST_CASE("trainer: another seed gives other numbers") {
  const train_test data = tiny::images();
  train_options o = tiny::options();
  run a(tiny::moe_model<float>(), o, data);
  o.seed = 4;
  run b(tiny::moe_model<float>(), o, data);
  CHECK_FALSE(same_bits(numbers(a), numbers(b)));
}

TEST_CASE("trainer: evaluation counts right, changes nothing and draws nothing") {
  const train_test data = tiny::images(64, 50);  // batches of 16, 16, 16 and 2
  run t(tiny::moe_model<float>(), tiny::options(), data), other(tiny::moe_model<float>(), tiny::options(), data);
  steps(t, 5), steps(other, 5);
  const auto before = numbers(t);

  std::vector<index> confusion(tiny::classes * tiny::classes, 0);
  std::vector<std::vector<double>> class_expert(tiny::depth, std::vector<double>(tiny::classes * tiny::experts, 0.0));
  index seen = 0, right = 0, placed = 0, choices = 0;
  std::vector<index> batches;
  std::vector<float> out(16 * tiny::classes);
  const train_summary s = t.evaluate([&](index batch, index n) {
    CHECK(batch == static_cast<index>(batches.size()));
    batches.push_back(n);
    // The same forward again, into memory of our own.
    const view<float> logits(out.data(), n, tiny::classes);
    t.work().forward(t.images().rows_at(0, n), logits);
    for (index i = 0; i < n; ++i) {
      const float* row = out.data() + i * tiny::classes;
      const index best = std::max_element(row, row + tiny::classes) - row;
      const index label = data.test.labels[static_cast<std::size_t>(seen + i)];
      right += best == label;
      ++confusion[static_cast<std::size_t>(label * tiny::classes + best)];
    }
    std::size_t l = 0;
    each_expert_layer(t.work().module(), t.work().saved(), [&](auto& layer, auto& saved) {
      const auto& plan = saved.routing.plan;
      CHECK(plan.tokens == n * tiny::tokens);
      // By slots, not by choices: the other side of the plan.
      for (int e = 0; e < plan.experts; ++e)
        for (int slot = plan.begin[e]; slot < plan.begin[e] + plan.count[e]; ++slot) {
          const index image = seen + plan.token[slot] / tiny::tokens;
          const index label = data.test.labels[static_cast<std::size_t>(image)];
          class_expert[l][static_cast<std::size_t>(label * tiny::experts + e)] += 1;
        }
      const auto stats = layer.stats(t.work().ctx(), saved);
      placed += stats.placed, choices += stats.choices;
      ++l;
    });
    CHECK(l == tiny::depth);
    seen += n;
  });
  CHECK(batches == std::vector<index>{16, 16, 16, 2});
  CHECK(s.images == 50);
  CHECK(s.accuracy == static_cast<double>(right) / 50);
  CHECK(s.confusion == confusion);
  CHECK(s.class_expert == class_expert);
  double served = 0;
  for (const auto& layer : s.class_expert)
    for (const double x : layer) served += x;
  CHECK(served == static_cast<double>(placed));
  CHECK(choices == 50 * tiny::tokens * 2 * tiny::depth);
  CHECK(s.experts.drop_rate() == doctest::Approx(1 - static_cast<double>(placed) / static_cast<double>(choices)));
  for (const auto& l : s.experts.layers) {
    CHECK(l.calls == 4);
    CHECK(l.units == 50 * tiny::tokens);
    double load = 0;
    for (const double x : l.load) load += x;
    CHECK(load == static_cast<double>(l.choices));
  }

  CHECK(same_bits(numbers(t), before));
  check_equal(t.evaluate(), s);
  steps(t, 4), steps(other, 4);
  CHECK(same_bits(numbers(t), numbers(other)));
}

TEST_CASE("trainer: another optimiser, steps of the rate, decay of everything; resumed with the same bits") {
  const train_test data = tiny::images();
  train_options o = tiny::options(4);
  o.learning_rate = 0.05, o.warmup_epochs = 0, o.weight_decay = 0.01, o.clip_norm = 0;
  o.schedule = learning_rate_schedule::shape::steps, o.milestones = {2, 3}, o.gamma = 0.1;
  using sgd_run = trainer<model, sgd>;
  sgd_run t(tiny::moe_model<float>(), o, data, {.momentum = 0.5});
  temp_folder folder;
  std::vector<double> rates;
  while (!t.finished()) {
    if (t.step_count() == 6) t.save(folder.file("part"));
    rates.push_back(t.step().learning_rate);
  }
  CHECK(rates[0] == close_to(0.05, 1e-6));
  CHECK(rates[7] == close_to(0.05, 1e-6));
  CHECK(rates[8] == close_to(0.005, 1e-6));
  CHECK(rates[12] == close_to(0.0005, 1e-6));
  sgd_run other(tiny::moe_model<float>(), o, data, {.momentum = 0.5});
  other.load(folder.file("part"));
  while (!other.finished()) other.step();
  CHECK(tiny::difference(tiny::everything(t, folder.file("a")), tiny::everything(other, folder.file("b"))) == "");

  // One plain step, p -= rate (g + decay p), on a tensor that does not decay by itself: with and without decay of all.
  const auto after_one = [&](bool all) {
    train_options p = o;
    p.decay_all = all;
    sgd_run r(tiny::moe_model<float>(), p, data, {.momentum = 0});
    const auto before = r.work().values_on_host();
    r.step();
    const auto after = r.work().values_on_host();
    for (const param_entry& e : r.work().entries())
      if (e.name == "norm.weight")
        return std::pair{before[static_cast<std::size_t>(e.offset)], after[static_cast<std::size_t>(e.offset)]};
    FAIL("norm.weight");
    return std::pair{0.0f, 0.0f};
  };
  const auto [p0, plain] = after_one(false);
  const auto [p1, decayed] = after_one(true);
  CHECK(p0 == p1);
  CHECK(plain - decayed == close_to(0.05 * 0.01 * p0, 1e-3));  // a difference of two floats near 1
  run adam(tiny::moe_model<float>(), o, data);
  CHECK(has(message_of<error>([&] { adam.load(folder.file("part")); }), "optimizer.mean"));
}

TEST_CASE("trainer: an epoch in which nobody chose an expert raises an alarm that names the layer") {
  const train_test data = tiny::images();
  run t(tiny::moe_model<float>(), tiny::options(1), data);
  steps(t, 1);
  CHECK(t.epoch_summary().experts.load_alarm() == "");
  run collapsed(tiny::moe_model<float>(), tiny::options(1), data);
  for (const auto& e : collapsed.work().state_entries())
    if (e.name == "blocks.1.moe.router.bias")
      for (const index expert : {0, 3}) collapsed.work().state()[static_cast<std::size_t>(e.offset + expert)] = 10;
  while (!collapsed.finished()) collapsed.step();
  CHECK(collapsed.epoch_summary().experts.load_alarm() ==
        "load alarm: layer 1, 2 of 4 experts chosen by nobody, load CV 1.00");
}

TEST_CASE("telemetry: the alarm over a load") {
  model_telemetry m;
  CHECK(m.load_alarm() == "");
  layer_telemetry even, hot;
  even.units = hot.units = 100, even.calls = hot.calls = 2;
  even.load = {50, 50, 49, 51};
  hot.load = {1000, 1, 1, 1, 1, 1, 1, 1};
  m.layers = {even, even};
  CHECK(m.load_alarm() == "");
  m.layers[1].load[2] = 0;
  CHECK(m.load_alarm() == "load alarm: layer 1, 1 of 4 experts chosen by nobody, load CV 0.58");
  m.layers = {hot, even};
  CHECK(m.load_alarm() == "load alarm: layer 0, load CV 2.62");
  CHECK(m.load_alarm(3) == "");
  m.layers = {hot, m.layers[1], hot};
  CHECK(m.load_alarm() == "load alarm: layer 0, load CV 2.62; layer 2, load CV 2.62");
  m.layers[0].bad_rows = 100;  // nobody could be routed: that is counted elsewhere
  CHECK(m.load_alarm() == "load alarm: layer 2, load CV 2.62");
}

TEST_CASE("trainer: evaluation on other images counts them") {
  const train_test data = tiny::images();
  run t(tiny::moe_model<float>(), tiny::options(), data);
  steps(t, 3);
  const auto before = numbers(t);
  check_equal(t.evaluate_on(data.test), t.evaluate());
  CHECK(t.evaluate_on(data.train).images == 64);
  CHECK(same_bits(numbers(t), before));
  dataset other = data.test;
  other.class_names.pop_back();
  CHECK(has(message_of<error>([&] { t.evaluate_on(other); }), "3 classes"));
}

TEST_CASE("trainer: a gradient that is not finite stops the step before it changes a parameter") {
  const train_test data = tiny::images();
  run t(tiny::moe_model<float>(), tiny::options(), data);
  steps(t, 2);
  const index where = t.work().entries().back().offset;
  t.work().values().ptr[0][where] = std::numeric_limits<float>::quiet_NaN();
  t.work().refresh();
  const auto before = numbers(t);
  const train_summary sums = t.epoch_summary();
  const std::string m = message_of<error>([&] { t.step(); });
  CHECK((has(m, "gradient norm of step 2 is not finite") && has(m, "learning rate 0.005")));
  CHECK((has(m, " tensors, first '") && has(m, "in ")));
  CHECK(t.step_count() == 2);
  const auto after = numbers(t);
  CHECK(std::memcmp(before.data(), after.data(), static_cast<std::size_t>(t.work().values().cols) * sizeof(float)) ==
        0);
  check_equal(t.epoch_summary(), sums);
}

TEST_CASE("trainer: options, data and model that do not fit are refused with their numbers") {
  const auto refused = [](auto change) {
    train_options o = tiny::options();
    train_test data = tiny::images(20, 3);
    change(o, data);
    return message_of<error>([&] { run(tiny::moe_model<float>(), o, data); });
  };
  CHECK(refused([](auto&, auto&) {}) == "");
  CHECK(has(refused([](auto& o, auto&) { o.batch = 21; }), "20 training images are less than one batch of 21"));
  CHECK(has(refused([](auto& o, auto&) { o.batch = 0; }), "batch is 0"));
  CHECK(has(refused([](auto& o, auto&) { o.epochs = 0; }), "epochs is 0"));
  CHECK(has(refused([](auto& o, auto&) { o.steps = -1; }), "steps is -1"));
  CHECK(has(refused([](auto& o, auto&) { o.threads = 0; }), "threads is 0"));
  CHECK(has(refused([](auto&, auto& d) { d.test.class_names.push_back("new"); }), "64 values and 5 classes"));
  CHECK(has(refused([](auto&, auto& d) {
              for (dataset* s : {&d.train, &d.test}) s->class_names.push_back("new");
            }),
            "maps 64 values to 4 classes, the data set has images of 64 values in 5 classes"));
}

}  // namespace
}  // namespace polymoe
