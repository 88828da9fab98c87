// One arm of paper B: train by SGD, then time inference over batch sizes and, if asked, look at the Hessian.  One text for
// both backends.
#pragma once

#include <algorithm>
#include <chrono>

#include "../experiment/train_arm.hpp"
#include "network.hpp"

namespace paper_b {
namespace {

/// Median milliseconds of a forward of the whole model for each batch size, in evaluation mode, until the logits are the
/// host's.
template <class Trainer>
std::vector<double> inference_times(Trainer& t, const std::vector<index>& batches) {
  auto& w = t.work();
  using T = typename Trainer::T;
  std::vector<double> out;
  const index classes = w.module().out_cols();
  std::vector<T> logits(static_cast<std::size_t>(t.options().batch * classes));
  typename Trainer::block made(logits.size() * sizeof(T));
  w.ctx().mode = polymoe::run_mode::eval;
  for (const index b : batches) {
    if (b > t.options().batch) break;
    std::vector<double> ms;
    for (int i = 0; i < 25; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      w.forward(t.images().rows_at(0, b), {static_cast<T*>(made.data()), b, classes});
      Trainer::memory::read(w.ctx().stream, logits.data(), made.data(), static_cast<std::size_t>(b * classes) * sizeof(T));
      if (i >= 5)
        ms.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
    }
    std::sort(ms.begin(), ms.end());
    out.push_back(ms[ms.size() / 2]);
  }
  w.ctx().mode = polymoe::run_mode::train;
  return out;
}

/// Figures "noisy_*" of the sparse head: the noise of its gate stays on in evaluation, as in the paper's code when its
/// results were made.  Means over draws; "noisy_test_spread" is their standard deviation.
template <class Trainer>
void add_noisy_evaluation(Trainer& t, const options& o, const images& data, result& r) {
  using T = typename Trainer::T;
  using B = typename Trainer::B;
  using model = experts_classifier<T, B>;
  const nn::resnet_sizes z = sizes_of(o, data);
  const auto head = noisy_head<T, B>(z.features(), data.test.classes());
  Trainer noisy(model(experts_model<T, B>(z, head)), t.options(), data.fit);
  noisy.work().set_values(t.work().values_on_host()), noisy.work().set_state(t.work().state_on_host());
  noisy.work().refresh();
  std::vector<double> test, loss, validation, entropy;
  for (index draw = 0; draw < 5; ++draw) {
    polymoe::step_state& at = noisy.work().step();
    const auto begin = [&] { at.step = t.total_steps() + draw, at.micro = 0; };  // draws that no training step had
    const auto next = [&](index batch, index) { at.micro = batch + 1; };
    begin();
    const polymoe::train_summary on_test = noisy.evaluate_on(data.test, 0, next);
    begin();
    test.push_back(on_test.accuracy), loss.push_back(on_test.loss), entropy.push_back(on_test.experts.entropy());
    validation.push_back(noisy.evaluate(next).accuracy);
  }
  const auto mean = [](const std::vector<double>& x) { return polymoe::analysis::summarise(x).mean; };
  r.figures["noisy_test_accuracy"] = mean(test), r.figures["noisy_test_loss"] = mean(loss);
  r.figures["noisy_test_spread"] = polymoe::analysis::summarise(test).deviation;
  r.figures["noisy_validation_accuracy"] = mean(validation), r.figures["noisy_entropy"] = mean(entropy);
}

/// landscape.hpp, where the model is on the host.
template <class Trainer>
void add_landscape(Trainer& t, bool experts, const options& o, const images& data, result& r);
template <class Trainer>
void add_frozen_curve(Trainer& t, const std::vector<float>& along, const options& o, const images& data, result& r);

template <class Model>
result train(head which, const std::string& name, const typename Model::config& config, const settings& s,
             const options& o, std::uint64_t seed, const images& data, hessian_function hessian) {
  using trainer = polymoe::trainer<Model, polymoe::sgd>;
  polymoe::train_options t = experiment::options_of(s, seed);
  t.decay_all = true;  // as PyTorch's SGD with one group
  polymoe::sgd rule;
  rule.momentum = s.momentum;
  trainer run(Model(config), t, data.fit, rule);
  return experiment::train_arm(name, seed, s, data, run, [&](trainer& finished, result& r) {
    const polymoe::cost cost = Model::count(config, 1);
    r.figures["parameters"] = static_cast<double>(cost.params);
    r.figures["macs"] = static_cast<double>(cost.macs);
    r.figures["routed_share"] = static_cast<double>(cost.routed_macs) / static_cast<double>(cost.macs);
    r.lists["inference_ms"] = inference_times(finished, {1, 2, 4, 8, 16, 32, 64, 128, 256});
    r.description = experiment::last_layer_of(finished);
    if constexpr (!std::is_same_v<Model, dense_classifier<typename Model::scalar, typename Model::backend>>)
      if (which == head::sparse) add_noisy_evaluation(finished, o, data, r);
    std::vector<float> sharpest;
    if (o.hessian_images > 0)
      sharpest = hessian(which, {finished.work().values_on_host(), finished.work().state_on_host()}, s, o, data, r);
    if constexpr (trainer::memory::on_host) {
      if (!sharpest.empty() && which != head::dense) add_frozen_curve(finished, sharpest, o, data, r);
      if (o.landscape_images > 0) add_landscape(finished, which != head::dense, o, data, r);
    }
  });
}

template <class T, class B>
result run_arm(head which, const std::string& name, const settings& s, const options& o, std::uint64_t seed,
               const images& data, hessian_function hessian) {
  const nn::resnet_sizes z = sizes_of(o, data);
  const index classes = data.test.classes();
  if (which == head::dense)
    return train<dense_classifier<T, B>>(which, name, dense_model<T, B>(z, classes), s, o, seed, data, hessian);
  const typename layer<T, B>::config experts = published(which) ? published_head<T, B>(which, z.features(), classes)
                                                                : coded_head<T, B>(which, z.features(), classes);
  return train<experts_classifier<T, B>>(which, name, experts_model<T, B>(z, experts), s, o, seed, data, hessian);
}

}  // namespace
}  // namespace paper_b
