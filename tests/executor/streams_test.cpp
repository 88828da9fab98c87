// Streams, events, pinned memory and recordings: that the executor's late queues show a buffer which is reused too
// early, and that what runs ahead of the GPU (the ring of steps, the ring of records) never does.
// with: plans
#include "helpers.hpp"

#include <polymoe/backend/cuda/dispatch/batches.cuh>
#include <polymoe/backend/cuda/dispatch/steps.cuh>

#include "../train/tiny_vit.hpp"

namespace polymoe::executor_test {
namespace {

template <int>
POLYMOE_KERNEL void keep_step(const step_state* step, step_state* all, index* next) {
  all[(*next)++] = *step;
}
executor::scope late(bool side_first = false) {
  executor::settings s;
  s.deferred = true, s.side_first = side_first;
  return executor::scope(s);
}

TEST_CASE("streams: work waits in its queue, and a pinned buffer that is written too early shows") {
  if (no_fibers()) return;
  const executor::scope with = late();
  backend::pinned_block pinned(sizeof(int));
  backend::device_block there(sizeof(int));
  device::side_stream s;
  device::event copied;
  const auto value = [&] {
    int x = 0;
    device::download(&x, there.data(), sizeof x, s.handle());
    return x;
  };
  int& p = *static_cast<int*>(pinned.data());
  p = 1;
  device::upload_async(there.data(), &p, sizeof p, s.handle());
  p = 2;  // wrong on purpose: nobody has waited
  CHECK(value() == 2);
  p = 3;
  device::upload_async(there.data(), &p, sizeof p, s.handle());
  copied.record(s.handle());
  copied.wait();
  p = 4;
  CHECK(value() == 3);
}

TEST_CASE("streams: one waits for an event of another; without it a copy may be early or late") {
  if (no_fibers()) return;
  for (const bool side_first : {false, true})
    for (const bool held : {false, true}) {
      CAPTURE(side_first);
      CAPTURE(held);
      const executor::scope with = late(side_first);
      backend::pinned_block pinned(sizeof(int));
      backend::device_block there(2 * sizeof(int));
      device::side_stream a, b;
      device::event filled, never;
      int* at = static_cast<int*>(there.data());
      *static_cast<int*>(pinned.data()) = 7;
      device::clear(at, 2 * sizeof(int), a.handle());
      device::wait(a.handle());
      device::upload_async(at, pinned.data(), sizeof(int), a.handle());
      filled.record(a.handle());
      never.hold(b.handle());
      if (held) filled.hold(b.handle());
      device::copy(at + 1, at, sizeof(int), b.handle());
      device::wait(b.handle());
      CHECK(at[1] == (held || side_first ? 7 : 0));
    }
}

TEST_CASE("recordings: nothing runs while they are made, replays read memory as it is then, waiting is refused") {
  if (no_fibers()) return;
  backend::device_block from(sizeof(int)), to(sizeof(int));
  int &x = *static_cast<int*>(from.data()), &y = *static_cast<int*>(to.data());
  device::recording r;
  CHECK(holds(message_of([&] { r.replay(nullptr); }), "before anything was recorded"));
  y = 0;
  r.record(nullptr, [&] { device::copy(&y, &x, sizeof x, nullptr); });
  CHECK(y == 0);
  for (x = 1; x < 4; ++x) {
    r.replay(nullptr);
    CHECK(y == x);
  }
  for (int what = 0; what < 3; ++what) {
    CAPTURE(what);
    CHECK(holds(message_of([&] {
                  r.record(nullptr, [&] {
                    if (what == 0) device::wait(nullptr);
                    if (what == 1) device::upload(&y, &x, sizeof x, nullptr);
                    if (what == 2) backend::device_block more(8);
                  });
                }),
                "while a stream is recorded"));
    CHECK(r.empty());
  }
  device::wait(nullptr);  // the recording was left
}

TEST_CASE("the ring of steps: every step arrives, however far the host runs ahead") {
  if (no_fibers()) return;
  const executor::scope with = late();
  constexpr index steps = 3 * backend::step_runner<cuda>::ahead + 1;
  backend::device_block at(sizeof(step_state)), all(static_cast<std::size_t>(steps) * sizeof(step_state)),
      next(sizeof(index));
  device::clear(next.data(), sizeof(index), nullptr);
  context<cuda> c;
  backend::step_runner<cuda> runner(true);
  auto* step = static_cast<step_state*>(at.data());
  const index before = executor::replays();
  for (index i = 0; i < steps; ++i) {
    step_state s;
    s.step = i, s.learning_rate = 0.5f * static_cast<float>(i), s.noise = static_cast<float>(-i);
    runner.push(c, step, s);
    runner.run(c, [&] {
      runner.set_micro(c, step, 0);
      runner.set_micro(c, step, 5);
      device::launch({.kernel = "keep", .grid = 1, .block = 1, .shared = 0, .stream = nullptr}, keep_step<0>, step,
                     static_cast<step_state*>(all.data()), static_cast<index*>(next.data()));
    });
  }
  device::wait(nullptr);
  CHECK(executor::replays() == before + steps - 1);
  for (index i = 0; i < steps; ++i) {
    const step_state& s = static_cast<const step_state*>(all.data())[i];
    CHECK((s.step == i && s.micro == 5 && s.learning_rate == 0.5f * static_cast<float>(i) &&
           s.noise == static_cast<float>(-i)));
  }
}

TEST_CASE("batches: steps that run ahead get the CPU's images and labels, whole data sets and streamed ones") {
  if (no_fibers()) return;
  const train_test data = tiny::images(20, 2);
  constexpr index batch = 3, accumulate = 2, steps = 11, rows = batch * accumulate;  // 3 steps an epoch
  context<cpu> host;
  for (const std::size_t resident : {std::size_t{0}, std::size_t{1}})
    for (const bool side_first : {false, true}) {
      CAPTURE(resident);
      CAPTURE(side_first);
      const executor::scope with = late(side_first);
      loader_options o;
      o.batch = batch, o.shuffle = true, o.drop_last = true, o.seed = 9, o.resident_bytes = resident;
      o.augment.mirror = flip::random, o.augment.pad = 1, o.augment.cutmix = 1, o.augment.rand_operations = 1;
      backend::batch_source<float, cpu> from(host, data.train, o, accumulate);
      context<cuda> c;
      backend::device_block at(sizeof(step_state));
      auto* step = static_cast<step_state*>(at.data());
      c.step = step;
      backend::step_runner<cuda> runner(true);
      backend::batch_source<float, cuda> to(c, data.train, o, accumulate);
      CHECK(to.resident() == (resident == 0));
      // What each step got, kept on the device until the end.
      backend::device_block all(steps * rows * 64 * sizeof(float)), classes(steps * rows * sizeof(std::int32_t));
      const auto images = [&](index i) {
        return view<float>(static_cast<float*>(all.data()) + i * rows * 64, rows, 64);
      };
      const auto labels = [&](index i) { return static_cast<std::int32_t*>(classes.data()) + i * rows; };
      for (index i = 0; i < steps; ++i) {
        to.begin_step(c, i);
        step_state s;
        s.step = i;
        runner.push(c, step, s);
        for (index micro = 0; micro < accumulate; ++micro) {
          runner.set_micro(c, step, micro);
          CHECK(to.fill_step(c, images(i).rows_at(micro * batch, batch)) == batch);
          device::copy(labels(i) + micro * batch, to.labels(batch).data(), batch * sizeof(std::int32_t), nullptr);
        }
        to.end_step(c, i, i + 1 < steps);
      }
      device::wait(nullptr);
      step_state now;
      host.step = &now;
      for (now.step = 0; now.step < steps; ++now.step) {
        from.begin_step(host, now.step);
        for (now.micro = 0; now.micro < accumulate; ++now.micro) {
          std::vector<float> x(batch * 64);
          from.fill_step(host, view<float>(x.data(), batch, 64));
          CHECK(std::memcmp(x.data(), images(now.step).row(now.micro * batch), x.size() * sizeof(float)) == 0);
          for (index r = 0; r < batch; ++r)
            CHECK(from.labels(batch)[static_cast<std::size_t>(r)] == labels(now.step)[now.micro * batch + r]);
        }
      }
    }
}

TEST_CASE("the ring of records: losses and norms of many steps come back in order, also round its end") {
  if (no_fibers()) return;
  const executor::scope with = late();
  using records = backend::step_records<cuda>;
  backend::device_block at(sizeof(step_state)), loss(sizeof(loss_report)), update(sizeof(optimizer_report));
  backend::pinned_block losses(64 * sizeof(loss_report)), updates(64 * sizeof(optimizer_report));
  context<cuda> c;
  auto* step = static_cast<step_state*>(at.data());
  c.step = step;
  backend::step_runner<cuda> runner(false);
  records r(4, 2);
  r.ready(c, static_cast<loss_report*>(loss.data()), static_cast<optimizer_report*>(update.data()));
  const auto start = [&](index i) {
    step_state s;
    s.step = i;
    runner.push(c, step, s);
    for (index micro = 0; micro < 2; ++micro) {
      const index n = (2 * i + micro) % 64;
      loss_report& l = static_cast<loss_report*>(losses.data())[n];
      l.loss = static_cast<double>(2 * i + micro), l.rows = 4, l.correct = micro;
      device::upload_async(loss.data(), &l, sizeof l, nullptr);
      r.note(c, micro, 0);
    }
    optimizer_report& u = static_cast<optimizer_report*>(updates.data())[i % 64];
    u.norm = static_cast<double>(i), u.skipped = i == 40;
    device::upload_async(update.data(), &u, sizeof u, nullptr);
    r.finish(c);
  };
  for (index first : {0, 20, 45}) {
    const index count = first == 20 ? 25 : 20;
    for (index i = first; i < first + count; ++i) start(i);
    const std::vector<step_record> all = r.read(c, first, count);
    REQUIRE(all.size() == static_cast<std::size_t>(count));
    for (index i = 0; i < count; ++i) {
      const step_record& x = all[static_cast<std::size_t>(i)];
      const auto n = static_cast<double>(first + i);
      CHECK((x.images == 8 && x.correct == 1 && x.loss == 4 * (4 * n + 1) && x.update.norm == n));
      CHECK((x.update.skipped != 0) == (first + i == 40));
      CHECK(x.layer_calls == 0);
    }
  }
  CHECK(holds(message_of([&] { r.read(c, 0, records::most + 1); }), "33 are asked for, 32 are kept"));
}

}  // namespace
}  // namespace polymoe::executor_test
