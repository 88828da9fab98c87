// Training a vision transformer with Mixture-of-Experts blocks on CUDA, run by the host executor, against the CPU trainer:
// one training loop, two backends.
// timeout: 600
#if !defined(__CUDACC__)
#include "host_executor.hpp"

#include "host_blaslt.hpp"
#endif

#include <doctest/doctest.h>
#include <polymoe/cuda_nn.cuh>

#include "../train/temp_folder.hpp"
#include "../train/tiny_vit.hpp"

namespace {
using namespace polymoe;
using polymoe::index;
using cuda_trainer = trainer<tiny::moe_vit<float, cuda>>;
using cpu_trainer = trainer<tiny::moe_vit<float, cpu>>;
}  // namespace

TEST_CASE("training on CUDA goes the CPU's way: losses, accuracy, drops, state, evaluation") {
  const train_test data = tiny::images(16, 6);
  train_options o = tiny::options(2);
  o.batch = 4, o.ema = 0.9, o.accumulate = 2;
  cpu_trainer host(tiny::moe_model<float, cpu>(), o, data);
  cuda_trainer device(tiny::moe_model<float, cuda>(), o, data);
  REQUIRE(host.total_steps() == 4);
  while (!host.finished()) {
    const train_step a = host.step(), b = device.step();
    CHECK(b.images == a.images);
    CHECK(b.loss == doctest::Approx(a.loss).epsilon(1e-4));
    CHECK(b.balance_loss == doctest::Approx(a.balance_loss).epsilon(1e-3));
    CHECK(b.grad_norm == doctest::Approx(a.grad_norm).epsilon(1e-3));
    CHECK(b.learning_rate == a.learning_rate);
    CHECK(b.drop_rate == doctest::Approx(a.drop_rate).epsilon(0.02));
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
}

TEST_CASE("training on CUDA is resumed bit for bit from a checkpoint, in the middle of an epoch") {
  const temp_folder folder;
  const train_test data = tiny::images(8, 4);
  train_options o = tiny::options(2);
  o.batch = 4;
  cuda_trainer whole(tiny::moe_model<float, cuda>(), o, data), first(tiny::moe_model<float, cuda>(), o, data);
  for (int i = 0; i < 3; ++i) {
    whole.step(), first.step();
  }
  first.save(folder.file("middle.safetensors"));
  cuda_trainer second(tiny::moe_model<float, cuda>(), o, data);
  second.load(folder.file("middle.safetensors"));
  CHECK(second.step_count() == 3);
  while (!whole.finished()) {
    const train_step a = whole.step(), b = second.step();
    CHECK(a.loss == b.loss);
    CHECK(a.grad_norm == b.grad_norm);
  }
  CHECK(whole.work().values_on_host() == second.work().values_on_host());
  CHECK(whole.work().state_on_host() == second.work().state_on_host());
}

TEST_CASE("a batch made on the device has the bits of the CPU's loader: shifts, mirrors, cut-outs, a short last batch") {
  const train_test data = tiny::images(50, 20);
  context<cpu> host;
  context<cuda> device;
  step_state at{.step = 5};
  device.step = &at;
  for (const border outside : {border::zero, border::reflect})
    for (const flip mirror : {flip::none, flip::random, flip::alternating}) {
      loader_options o{.batch = 16, .shuffle = true, .augment = {.pad = 2, .outside = outside, .mirror = mirror, .cutout = 3}, .seed = 9};
      backend::batch_source<bf16, cpu> from(host, data.train, o);
      backend::batch_source<bf16, cuda> to(device, data.train, o);
      from.begin_epoch(host, 1), to.begin_epoch(device, 1);
      for (polymoe::index b = 0; b < from.batches(); ++b) {
        std::vector<bf16> x(16 * 64), y(16 * 64);
        const polymoe::index n = from.fill(host, b, view<bf16>(x.data(), 16, 64));
        REQUIRE(to.fill(device, b, view<bf16>(y.data(), 16, 64)) == n);
        for (std::size_t i = 0; i < static_cast<std::size_t>(n * 64); ++i) REQUIRE(x[i].bits == y[i].bits);
        for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
          REQUIRE(from.labels(n)[i] == to.labels(n)[i]);
          REQUIRE(from.labels(n)[i] == to.host_labels(n)[i]);
        }
        // The same batch found by the step: 5 = epoch 1, step 1 of 4.
        if (b == 1) {
          std::vector<bf16> z(16 * 64);
          to.begin_step(device, 5);
          to.fill_step(device, view<bf16>(z.data(), 16, 64));
          for (std::size_t i = 0; i < z.size(); ++i) REQUIRE(z[i].bits == x[i].bits);
        }
      }
    }
}
