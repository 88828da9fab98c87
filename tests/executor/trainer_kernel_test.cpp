// Training a vision transformer with Mixture-of-Experts blocks on CUDA, run by the host executor, against the CPU
// trainer: one training loop, two backends; and steps that are recorded and replayed against eager ones.
// tests/gpu/trainer_test.cu is the same text on a GPU.
// timeout: 600
#if !defined(__CUDACC__)
#include "host_executor.hpp"

#include "host_blaslt.hpp"
#endif

#include <doctest/doctest.h>
#if !defined(__CUDACC__)  // Thrust has a namespace cuda, and this file uses that of polymoe without saying so
#include <polymoe/backend/cuda/dispatch/initialise.cuh>
#endif
#include <polymoe/cuda_nn.cuh>

#include "../support/close_to.hpp"
#include "../train/memory_store.hpp"
#include "../train/temp_folder.hpp"
#include "../train/tiny_vit.hpp"

namespace {
using namespace polymoe;
using polymoe::index;
using cuda_trainer = trainer<tiny::moe_vit<float, cuda>>;
}  // namespace

#if !defined(__CUDACC__)  // which does not read the vector code of the CPU's attention
using cpu_trainer = trainer<tiny::moe_vit<float, cpu>>;
TEST_CASE("training on CUDA goes the CPU's way: losses, accuracy, drops, state, evaluation") {
  const train_test data = tiny::images(16, 6);
  train_options o = tiny::options(2);
  o.batch = 4, o.ema = 0.9, o.accumulate = 2;
  o.augment.mixup = 0.4, o.augment.cutmix = 1, o.augment.rand_operations = 2, o.smoothing = 0.1;
  cpu_trainer host(tiny::moe_model<float, cpu>(), o, data);
  cuda_trainer device(tiny::moe_model<float, cuda>(), o, data);
  REQUIRE(host.total_steps() == 4);
  while (!host.finished()) {
    const train_step a = host.step(), b = device.step();
    CHECK(b.images == a.images);
    CHECK(b.loss == doctest::Approx(a.loss).epsilon(1e-4));
    CHECK(b.balance_loss == moe_test::close_to(a.balance_loss, 1e-3));
    CHECK(b.grad_norm == doctest::Approx(a.grad_norm).epsilon(1e-3));
    CHECK(b.learning_rate == a.learning_rate);
    CHECK(b.drop_rate == moe_test::close_to(a.drop_rate, 0.02));
  }
  const std::vector<float> x = host.work().values_on_host(), y = device.work().values_on_host();
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < x.size(); ++i)
    difference += static_cast<double>((x[i] - y[i]) * (x[i] - y[i])), size += static_cast<double>(x[i] * x[i]);
  CHECK(std::sqrt(difference / size) < 2e-3);
  const train_summary a = host.evaluate(), b = device.evaluate();
  CHECK(b.images == a.images);
  CHECK(b.loss == doctest::Approx(a.loss).epsilon(2e-3));
  CHECK(b.accuracy == doctest::Approx(a.accuracy).epsilon(0.05));
  CHECK(device.evaluate_average().loss == doctest::Approx(host.evaluate_average().loss).epsilon(2e-3));

  // A checkpoint of one backend is one of the other, bit for bit.
  const temp_folder folder;
  const auto all = tiny::everything(device, folder.file("device"));
  cpu_trainer other(tiny::moe_model<float, cpu>(), o, data);
  other.load(folder.file("device"));
  CHECK(tiny::difference(all, tiny::everything(other, folder.file("host"))) == "");
}
TEST_CASE("training in bf16 on CUDA goes the CPU's way, as far as bf16 goes") {
  const train_test data = tiny::images(16, 6);
  train_options o = tiny::options(1);
  o.batch = 8;
  trainer<tiny::moe_vit<bf16, cpu>> host(tiny::moe_model<bf16, cpu>(), o, data);
  trainer<tiny::moe_vit<bf16, cuda>> device(tiny::moe_model<bf16, cuda>(), o, data);
  while (!host.finished()) {
    const train_step a = host.step(), b = device.step();
    CHECK(b.loss == doctest::Approx(a.loss).epsilon(1e-2));
    CHECK(b.grad_norm == doctest::Approx(a.grad_norm).epsilon(3e-2));
  }
}
#endif

namespace {
#if defined(__CUDACC__)
/// Real streams run as they like.
struct late_streams {
  explicit late_streams(bool) {}
};
index replays() { return 0; }
constexpr bool counts_replays = false;
#else
/// Work happens when it is waited for, and with `side_first` copies of the second stream as early as they may.
struct late_streams {
  explicit late_streams(bool side_first) : with(settings(side_first)) {}
  static executor::settings settings(bool side_first) {
    executor::settings s;
    s.deferred = true, s.side_first = side_first;
    return s;
  }
  executor::scope with;
};
index replays() { return executor::replays(); }
constexpr bool counts_replays = true;
#endif

/// Every step has its own noise, temperature and balance beside its own data and learning rate.
template <class Trainer>
void set_step(Trainer& t) {
  const auto step = static_cast<float>(t.step_count());
  t.work().step().noise = 1.0f - 0.2f * step, t.work().step().temperature = 1.0f + 0.25f * step;
}
void same_step(const train_step& a, const train_step& b) {
  CHECK(a.loss == b.loss);
  CHECK(a.balance_loss == b.balance_loss);
  CHECK(a.accuracy == b.accuracy);
  CHECK(a.grad_norm == b.grad_norm);
  CHECK(a.learning_rate == b.learning_rate);
  CHECK(a.drop_rate == b.drop_rate);
  CHECK(a.load_cv == b.load_cv);
}

/// Steps that are replayed, with a checkpoint, an evaluation and a resumed trainer between them, against eager ones.
template <class T>
void replays_equal_eager() {
  using run = trainer<tiny::moe_vit<T, cuda>>;
  const temp_folder folder;
  const train_test data = tiny::images(8, 3);
  train_options o = tiny::options(3);
  o.batch = 2, o.accumulate = 2, o.ema = 0.9;
  o.augment.mixup = 0.4, o.augment.cutmix = 1, o.augment.rand_operations = 1;
  o.graph = false;
  run eager(tiny::moe_model<T, cuda>(), o, data);
  REQUIRE(eager.total_steps() == 6);
  std::vector<train_step> want;
  double test_loss = 0;
  const auto eager_step = [&] {
    set_step(eager);
    want.push_back(eager.step());
    if (eager.step_count() == 3) test_loss = eager.evaluate().loss;
  };
  const index before = replays();
  while (!eager.finished()) eager_step();
  CHECK(replays() == before);
  CHECK(want[0].loss != want[2].loss);
  CHECK(want[2].learning_rate != want[3].learning_rate);
  const auto all = tiny::everything(eager, folder.file("eager"));

  o.graph = true;
  const train_test disk{stored(data.train), stored(data.test)};
  for (const int where : {0, 1, 2}) {  // on the device, streamed from memory, streamed from a store
    CAPTURE(where);
    const bool streamed = where > 0;
    const late_streams late(streamed);
    o.resident_bytes = where == 1 ? 1 : 0;
    const index first = replays();
    run whole(tiny::moe_model<T, cuda>(), o, where == 2 ? disk : data);
    const auto walk = [&](run& t, index to) {
      while (t.step_count() < to) {
        set_step(t);
        const train_step& wanted = want[static_cast<std::size_t>(t.step_count())];
        same_step(t.step(), wanted);
      }
    };
    walk(whole, 3);
    CHECK(whole.evaluate().loss == test_loss);  // the test set's last batch is short
    walk(whole, 4);
    if (counts_replays) CHECK(replays() == first + 3);
    if (streamed) {
      walk(whole, 6);
      CHECK(tiny::difference(all, tiny::everything(whole, folder.file("whole"))) == "");
      continue;
    }
    whole.save(folder.file("middle"));
    run resumed(tiny::moe_model<T, cuda>(), o, data);
    resumed.load(folder.file("middle"));
    walk(resumed, 6);
    if (counts_replays) CHECK(replays() == first + 4);
    CHECK(tiny::difference(all, tiny::everything(resumed, folder.file("resumed"))) == "");
  }
}
}  // namespace

TEST_CASE("a replayed training step has the bits of the eager one: other data, step, rate, noise, temperature") {
  replays_equal_eager<float>();
}

TEST_CASE("steps that run ahead of the host are the steps one by one; one that is not finite stops them") {
  const temp_folder folder;
  const train_test data = tiny::images(8, 2);
  train_options o = tiny::options(2);
  o.batch = 2, o.graph = false;
  cuda_trainer one(tiny::moe_model<float, cuda>(), o, data);
  o.graph = true;
  const late_streams late(false);
#if defined(__CUDACC__)
  cuda_trainer many(tiny::moe_model<float, cuda>(), o, data);
#else
  // First values that are drawn on the device have the bits of the host's.
  static polymoe::index drawn = 0;
  cuda_trainer many(tiny::moe_model<float, cuda>(), o, data, {},
                    [](const cuda::stream& s, const std::vector<param_entry>& e, view<float> v, std::uint64_t seed) {
                      drawn += v.cols;
                      first_values_on_device(s, e, v, seed);
                    });
  CHECK(drawn == one.work().values().cols);
#endif
  CHECK_THROWS_AS(many.advance(0), error);
  train_step last;
  for (int i = 0; i < 4; ++i) last = one.step();
  same_step(many.advance(100), last);  // an epoch at most
  CHECK(many.step_count() == 4);
  const train_summary a = one.epoch_summary(), b = many.epoch_summary();
  CHECK((a.images == b.images && a.loss == b.loss && a.accuracy == b.accuracy));
  CHECK(a.experts.load_cv() == b.experts.load_cv());
  CHECK(tiny::difference(tiny::everything(one, folder.file("one")), tiny::everything(many, folder.file("many"))) == "");

  // Parameters of the second step are beyond what float squares hold: it must be the last.
  o.learning_rate = 1e25, o.warmup_epochs = 0;
  cuda_trainer bad(tiny::moe_model<float, cuda>(), o, data);
  o.graph = false;
  cuda_trainer good(tiny::moe_model<float, cuda>(), o, data);
  good.step();
  for (int again = 0; again < 2; ++again) {
    std::string text;
    try {
      bad.advance(4);
    } catch (const error& e) {
      text = e.what();
    }
    CAPTURE(text);
    CHECK(text.find("gradient norm of step 1 is not finite") != text.npos);
    CHECK(bad.step_count() == 1);
    CHECK(bad.epoch_summary().images == 2);
    CHECK(bad.work().values_on_host() == good.work().values_on_host());
    // The balance bias, which commit moves, has stopped too, and the loads of refused steps are forgotten.
    const std::vector<float> x = bad.work().state_on_host(), y = good.work().state_on_host();
    for (const param_entry& e : good.work().state_entries())
      if (e.name.ends_with("bias") || e.name.ends_with("load"))
        CHECK(std::equal(x.begin() + e.offset, x.begin() + e.offset + e.size, y.begin() + e.offset));
  }
}

TEST_CASE("a temperature schedule with an entropy floor: steps that run ahead in a graph have the bits of eager ones") {
  const temp_folder folder;
  const train_test data = tiny::images(8, 2);
  train_options o = tiny::options(2);
  o.batch = 2, o.graph = false;
  o.temperature = temperature_schedule{};
  o.temperature->how = temperature_schedule::shape::linear, o.temperature->least = 0.1, o.temperature->total = 8;
  o.temperature->entropy_floor = 1e-9, o.temperature->entropy_lag = 2;
  std::vector<double> entropy;
  {
    cuda_trainer look(tiny::moe_model<float, cuda>(), o, data);
    while (look.step_count() < 4) entropy.push_back(look.step().entropy);
  }
  o.temperature->entropy_floor = 0.5 * (entropy[2] + entropy[3]);
  cuda_trainer one(tiny::moe_model<float, cuda>(), o, data);
  std::vector<double> tau;
  while (!one.finished()) tau.push_back(one.step().temperature);
  CHECK(tau[7] > tau[6] - 1e-12);  // it was stopped
  o.graph = true;
  const late_streams late(false);
  cuda_trainer many(tiny::moe_model<float, cuda>(), o, data);
  many.advance(100);
  many.save(folder.file("middle"));
  cuda_trainer resumed(tiny::moe_model<float, cuda>(), o, data);
  resumed.load(folder.file("middle"));
  resumed.advance(100);
  CHECK(tiny::difference(tiny::everything(one, folder.file("one")), tiny::everything(resumed, folder.file("many"))) ==
        "");
}

namespace {
/// The second epoch made on the device against the CPU's loader, and the batch that the step in device memory finds.
/// With mixup its sums may round in another way: numbers then agree to a unit in the last place of bf16.
void compare_batches(const dataset& data, const loader_options& o) {
  context<cpu> host;
  context<cuda> device;
  const polymoe::index features = data.features(), batch = o.batch;
  backend::batch_source<bf16, cpu> from(host, data, o);
  backend::batch_source<bf16, cuda> to(device, data, o);
  CHECK(to.resident() == (o.resident_bytes == 0));
  step_state at;
  at.step = from.batches() + 1;
  backend::device_block step(sizeof at), pixels(static_cast<std::size_t>(batch * features) * sizeof(bf16));
  device::upload(step.data(), &at, sizeof at, nullptr);
  device.step = static_cast<const step_state*>(step.data());
  const view<bf16> on_device(static_cast<bf16*>(pixels.data()), batch, features);
  from.begin_epoch(host, 1), to.begin_epoch(device, 1);
  for (polymoe::index b = 0; b < from.batches(); ++b) {
    std::vector<bf16> x(static_cast<std::size_t>(batch * features));
    const polymoe::index n = from.fill(host, b, view<bf16>(x.data(), batch, features));
    x.resize(static_cast<std::size_t>(n * features));
    const auto as_wanted = [&](polymoe::index rows) {
      REQUIRE(rows == n);
      std::vector<bf16> got(x.size());
      device::download(got.data(), pixels.data(), got.size() * sizeof(bf16), nullptr);
      if (o.augment.mixup > 0) {
        for (std::size_t i = 0; i < x.size(); ++i) {
          const float want = static_cast<float>(x[i]);
          REQUIRE(std::abs(static_cast<float>(got[i]) - want) <= 0x1p-7f * std::abs(want) + 1e-6f);
        }
      } else {
        REQUIRE(std::memcmp(got.data(), x.data(), x.size() * sizeof(bf16)) == 0);
      }
      const auto labels_of = [&](std::span<const std::int32_t> there) {
        std::vector<std::int32_t> labels(there.size());
        device::download(labels.data(), there.data(), labels.size() * sizeof(labels[0]), nullptr);
        return labels;
      };
      const auto same = [](std::span<const std::int32_t> a, const std::vector<std::int32_t>& b2) {
        return std::equal(a.begin(), a.end(), b2.begin(), b2.end());
      };
      REQUIRE(same(from.labels(n), labels_of(to.labels(n))));
      const label_mix want = from.mix(n), got_mix = to.mix(n);
      REQUIRE(same(want.second, labels_of(got_mix.second)));
      REQUIRE((want.own == nullptr) == (got_mix.own == nullptr));
      if (!want.own) return;
      double own = 0;
      device::download(&own, got_mix.own, sizeof own, nullptr);
      REQUIRE(own == *want.own);
    };
    as_wanted(to.fill(device, b, on_device));
    for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) REQUIRE(from.labels(n)[i] == to.host_labels(n)[i]);
    if (b != 1) continue;
    to.begin_step(device, at.step);
    as_wanted(to.fill_step(device, on_device));
    to.end_step(device, at.step, true);
  }
}
}  // namespace

TEST_CASE(
    "a batch made on the device has the bits of the CPU's loader: shifts, mirrors, cut-outs, a short last batch") {
  const train_test data = tiny::images(50, 20);
  for (const std::size_t resident : {std::size_t{0}, std::size_t{1}})
    for (const border outside : {border::zero, border::reflect})
      for (const flip mirror : {flip::none, flip::random, flip::alternating}) {
        loader_options o;
        o.batch = 16, o.shuffle = true, o.seed = 9, o.resident_bytes = resident;
        o.augment.pad = 2, o.augment.outside = outside, o.augment.mirror = mirror, o.augment.cutout = 3;
        compare_batches(data.train, o);
      }
}

TEST_CASE("mixed batches and RandAugment on the device are the CPU's: every operation, in memory and streamed") {
  dataset d;
  d.channels = 3, d.height = 24, d.width = 26, d.class_names = {"a", "b", "c"};
  for (polymoe::index i = 0; i < 20; ++i) d.labels.push_back(static_cast<std::int32_t>(i % 3));
  for (polymoe::index k = 0; k < 20 * d.features(); ++k)  // levels 40 to 199, darker to the left
    d.pixels.push_back(
        static_cast<std::uint8_t>(40 + 2 * (k % 26) + random_stream{9, 0}.below(static_cast<std::uint64_t>(k), 110)));
  d.measure();
  loader_options o;
  o.batch = 8, o.shuffle = true, o.seed = 2;
  o.augment.pad = 2, o.augment.mirror = flip::random, o.augment.cutout = 5;
  for (int which = 0; which < 4; ++which) {
    CAPTURE(which);
    augment_options& a = o.augment;
    a.mixup = which == 0 ? 0.4 : 0, a.cutmix = which == 1 || which == 2 ? 1 : 0;
    a.rand_operations = which < 2 ? 0 : which == 2 ? 3 : 4, a.rand_strength = which == 2 ? 14 : 30;
    for (const std::size_t resident : {std::size_t{0}, std::size_t{1}}) {
      o.resident_bytes = resident;
      compare_batches(d, o);
    }
  }
  // All of RandAugment was met.
  std::vector<int> met(rand_augment::operations, 0);
  for (polymoe::index i = 0; i < 20; ++i)
    for (int j = 0; j < 4; ++j) ++met[static_cast<std::size_t>(rand_augment::choice::draw({o.seed}, 1, i, j).op)];
  for (const int n : met) CHECK(n > 0);
}
