// One arm of paper B: train by SGD, then time inference over batch sizes and, if asked, look at the Hessian.
#include <algorithm>
#include <chrono>

#include <polymoe/analysis/loss_landscape.hpp>

#include "../experiment/train_arm.hpp"
#include "batches.hpp"
#include "network.hpp"

namespace paper_b {
namespace {

/// Median milliseconds of a forward of the whole model for each batch size, in evaluation mode.
template <class Trainer>
std::vector<double> inference_times(Trainer& t, const std::vector<index>& batches) {
  auto& w = t.work();
  using T = typename std::remove_reference_t<decltype(w.module())>::scalar;
  std::vector<double> out;
  std::vector<T> logits(static_cast<std::size_t>(t.options().batch * w.module().out_cols()));
  w.ctx().mode = polymoe::run_mode::eval;
  for (const index b : batches) {
    if (b > t.options().batch) break;
    std::vector<double> ms;
    for (int i = 0; i < 25; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      w.forward(t.images().rows_at(0, b), {logits.data(), b, w.module().out_cols()});
      if (i >= 5)
        ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    }
    std::sort(ms.begin(), ms.end());
    out.push_back(ms[ms.size() / 2]);
  }
  w.ctx().mode = polymoe::run_mode::train;
  return out;
}

/// Lists "landscape.*": the mean loss of the training images over two random directions, -1 to 1 filter lengths away,
/// with gates that choose anew and, for experts, with gates as they are.
template <class Trainer>
void add_landscape(Trainer& t, bool experts, const options& o, const images& data, result& r) {
  using polymoe::analysis::gates;
  auto& w = t.work();
  const index n = std::min(o.landscape_images, data.fit.train.size()), batch = std::min<index>(t.options().batch, n);
  const batches of = first_batches(w.ctx().stream, data.fit.train, n, batch);
  polymoe::analysis::loss_landscape scape(w, of.rows, data.test.classes());
  const auto u = scape.random_direction(2 * r.seed), v = scape.random_direction(2 * r.seed + 1);
  const auto axis = [](index points) {
    std::vector<double> at;
    for (index i = 0; i < points; ++i) at.push_back(2.0 * static_cast<double>(i) / static_cast<double>(points - 1) - 1);
    return at;
  };
  const std::vector<double> line = axis(2 * o.landscape_points - 1), side = axis(o.landscape_points);
  r.lists["landscape.alpha"] = line, r.lists["landscape.side"] = side;
  for (const auto& [how, name] : {std::pair{gates::free, "free"}, {gates::frozen, "frozen"}}) {
    if (how == gates::frozen && !experts) break;
    r.lists[std::string("landscape.line_") + name] = scape.along(u, line, how);
    r.lists[std::string("landscape.plane_") + name] = scape.over(u, v, side, side, how);
  }
  std::printf("%s, seed %llu: loss over two random directions, %lld images\n", r.arm.c_str(),
              static_cast<unsigned long long>(r.seed), static_cast<long long>(n / batch * batch));
}

template <class Model>
result train(head which, const std::string& name, const typename Model::config& config, const settings& s,
             const options& o, std::uint64_t seed, const images& data) {
  using trainer = polymoe::trainer<Model, polymoe::sgd>;
  polymoe::train_options t = experiment::options_of(s, seed);
  t.decay_all = true;  // as PyTorch's SGD with one group
  trainer run(Model(config), t, data.fit, {.momentum = s.momentum});
  return experiment::train_arm(name, seed, s, data, run, [&](trainer& finished, result& r) {
    const polymoe::cost cost = Model::count(config, 1);
    r.figures["parameters"] = static_cast<double>(cost.params);
    r.figures["macs"] = static_cast<double>(cost.macs);
    r.figures["routed_share"] = static_cast<double>(cost.routed_macs) / static_cast<double>(cost.macs);
    r.lists["inference_ms"] = inference_times(finished, {1, 2, 4, 8, 16, 32, 64, 128, 256});
    r.description = experiment::last_layer_of(finished);
    if (o.landscape_images > 0) add_landscape(finished, which != head::dense, o, data, r);
    if (o.hessian_images > 0 && !published(which))
      add_hessian(which, {finished.work().values_on_host(), finished.work().state_on_host()}, s, o, data, r);
  });
}

}  // namespace

result run(head which, const std::string& name, const settings& s, const options& o, std::uint64_t seed,
           const images& data) {
  const nn::resnet_sizes z = sizes_of(o, data);
  const index classes = data.test.classes();
  if (which == head::dense)
    return train<dense_classifier<float>>(which, name, dense_model<float>(z, classes), s, o, seed, data);
  const layer::config experts =
      published(which) ? published_head(which, z.features(), classes) : coded_head(which, z.features(), classes);
  return train<experts_classifier<float>>(which, name, experts_model<float>(z, experts), s, o, seed, data);
}

}  // namespace paper_b
