// One arm of paper B: train by SGD, then time inference over batch sizes, read the gates and, if asked, look at the
// Hessian and around the model.  One text for both backends.
#pragma once

#include <algorithm>
#include <chrono>

#include "../experiment/train_arm.hpp"
#include "network.hpp"

namespace paper_b {
namespace {

using clock = std::chrono::steady_clock;
inline double seconds_since(clock::time_point begin) {
  return std::chrono::duration<double>(clock::now() - begin).count();
}

/// Milliseconds of a forward of the whole model in evaluation mode, until the logits are the host's: "inference_ms",
/// the median of `timed` forwards for each of timed_batches, and the quartiles "inference_low_ms" and
/// "inference_high_ms".
template <class Trainer>
void add_inference_times(Trainer& t, int warm, int timed, result& r) {
  auto& w = t.work();
  using T = typename Trainer::T;
  const index classes = w.module().out_cols();
  std::vector<T> logits(static_cast<std::size_t>(t.options().batch * classes));
  typename Trainer::block made(logits.size() * sizeof(T));
  w.ctx().mode = polymoe::run_mode::eval;
  for (const index b : timed_batches) {
    if (b > t.options().batch) break;
    std::vector<double> ms;
    for (int i = 0; i < warm + timed; ++i) {
      const auto begin = clock::now();
      w.forward(t.images().rows_at(0, b), {static_cast<T*>(made.data()), b, classes});
      Trainer::memory::read(w.ctx().stream, logits.data(), made.data(),
                            static_cast<std::size_t>(b * classes) * sizeof(T));
      if (i >= warm) ms.push_back(1e3 * seconds_since(begin));
    }
    std::sort(ms.begin(), ms.end());
    r.lists["inference_low_ms"].push_back(ms[ms.size() / 4]);
    r.lists["inference_ms"].push_back(ms[ms.size() / 2]);
    r.lists["inference_high_ms"].push_back(ms[ms.size() - 1 - ms.size() / 4]);
  }
  w.ctx().mode = polymoe::run_mode::train;
}
inline constexpr int warm_forwards = 5, timed_forwards = 20, noisy_draws = 5;

/// List "class_gate" [classes, E]: the mean weight that the test images of a class give an expert.  0 for a class
/// without images.
template <class Trainer>
void add_gates(Trainer& t, const images& data, result& r) {
  const index classes = data.test.classes();
  std::vector<double> gate(static_cast<std::size_t>(classes * experts), 0.0);
  std::vector<double> count(static_cast<std::size_t>(classes), 0.0);
  const std::int32_t* labels = data.test.labels.data();
  t.evaluate_on(data.test, 0, [&](index, index n) {
    polymoe::each_expert_layer(t.work().module(), t.work().saved(), [&](auto& layer, auto& saved) {
      const auto plan = layer.plan(t.work().ctx(), saved);
      for (int i = 0; i < n; ++i)
        each_served(plan, i,
                    [&](int e, double weight) { gate[static_cast<std::size_t>(labels[i] * experts + e)] += weight; });
    });
    for (index i = 0; i < n; ++i) ++count[static_cast<std::size_t>(labels[i])];
    labels += n;
  });
  for (std::size_t i = 0; i < gate.size(); ++i) gate[i] /= std::max(count[i / experts], 1.0);
  r.lists["class_gate"] = gate, r.lists["class_images"] = count;
}

/// Figures of the sparse head, `before` in front of their names: the noise of its gate stays on in evaluation, as in
/// the paper's code when its results were made.  Means over draws; "test_spread" is their standard deviation.
template <class Trainer>
void add_noisy_evaluation(Trainer& t, const options& o, const images& data, const std::string& before, result& r) {
  using T = typename Trainer::T;
  using B = typename Trainer::B;
  using model = experts_classifier<T, B>;
  const nn::resnet_sizes z = sizes_of(o, data);
  const auto head = noisy_head<T, B>(z.features(), data.test.classes());
  Trainer noisy(model(experts_model<T, B>(z, head)), t.options(), data.fit);
  noisy.work().set_values(t.work().values_on_host()), noisy.work().set_state(t.work().state_on_host());
  noisy.work().refresh();
  std::vector<double> test, loss, validation, entropy;
  for (index draw = 0; draw < noisy_draws; ++draw) {
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
  r.figures[before + "test_accuracy"] = mean(test), r.figures[before + "test_loss"] = mean(loss);
  r.figures[before + "test_spread"] = polymoe::analysis::summarise(test).deviation;
  r.figures[before + "validation_accuracy"] = mean(validation), r.figures[before + "entropy"] = mean(entropy);
}

/// What looks at the model that the trainer has: its figures and lists with `before` in front of their names, the epoch
/// that it is of, and the seconds it took.
template <class Trainer>
void add_look(Trainer& t, head which, const settings& s, const options& o, const images& data, look_function look,
              double epoch, const std::string& before, result& r) {
  result seen;
  seen.arm = r.arm, seen.seed = r.seed;
  const auto begin = clock::now();
  look(which, {t.work().values_on_host(), t.work().state_on_host()}, s, o, data, seen);
  seen.figures["look_epoch"] = epoch, seen.figures["look_seconds"] = seconds_since(begin);
  for (const auto& [name, x] : seen.figures) r.figures[before + name] = x;
  for (const auto& [name, list] : seen.lists) r.lists[before + name] = list;
}

template <class Trainer>
inline constexpr bool has_experts =
    !std::is_same_v<polymoe::trainer<dense_classifier<typename Trainer::T, typename Trainer::B>, polymoe::sgd>,
                    Trainer>;

/// All that an arm is asked for after its training.  The trainer's numbers are another epoch's then.
template <class Trainer>
void add_own(Trainer& t, head which, const settings& s, const options& o, const images& data, look_function look,
             result& r) {
  add_inference_times(t, warm_forwards, timed_forwards, r);
  r.description = experiment::last_layer_of(t);
  if (which != head::dense) add_gates(t, data, r);
  const std::string folder = experiment::folder_of(s, r.arm, r.seed);
  const bool looks = o.hessian_images > 0 || o.landscape_images > 0;
  if constexpr (has_experts<Trainer>)
    if (which == head::sparse) add_noisy_evaluation(t, o, data, "noisy_", r);
  if (looks && o.hessian_of == "last") add_look(t, which, s, o, data, look, static_cast<double>(s.epochs), "", r);
  if (s.keep_best) {
    t.load(folder + experiment::best_checkpoint);
    if constexpr (has_experts<Trainer>)
      if (which == head::sparse) add_noisy_evaluation(t, o, data, "noisy_best_", r);
    if (looks && o.hessian_of == "best")
      add_look(t, which, s, o, data, look, r.figures.at("best_validation_epoch"), "", r);
  }
  if (o.hessian_at_loss > 0 && o.hessian_images > 0) {
    const auto below =
        std::find_if(r.epochs.begin(), r.epochs.end(), [&](const auto& e) { return e.train_loss < o.hessian_at_loss; });
    if (below == r.epochs.end()) {
      std::printf("%s, seed %llu: no epoch has a training loss below %g, no Hessian of it\n", r.arm.c_str(),
                  static_cast<unsigned long long>(r.seed), o.hessian_at_loss);
      return;
    }
    t.load(folder + experiment::at_loss_checkpoint);
    options hessian = o;
    hessian.landscape_images = 0;
    add_look(t, which, s, hessian, data, look, static_cast<double>(below - r.epochs.begin() + 1), "equal.", r);
    r.figures["equal.epoch_loss"] = below->train_loss;
  }
}

/// Figure "plan_after": seconds that add_own() would take, at most, as eigenvalues may be found in fewer products.
template <class Trainer>
void plan_own(Trainer& t, head which, const settings& s, const options& o, const images& data, look_function look,
              result& r) {
  const auto begin = clock::now();
  add_inference_times(t, 1, 1, r);
  double after = seconds_since(begin) * (warm_forwards + timed_forwards) / 2;
  const auto tested = static_cast<double>(data.test.size()), validated = static_cast<double>(data.fit.test.size());
  double evaluated = which == head::dense ? 0 : tested;
  if (which == head::sparse) evaluated += (s.keep_best ? 2 : 1) * noisy_draws * (tested + validated);
  after += evaluated / r.figures.at("plan_evaluate");
  const auto seconds_of_look = [&](const options& of) {
    result timed;
    look(which, {t.work().values_on_host(), t.work().state_on_host()}, s, of, data, timed);
    return timed.figures["plan_look"];
  };
  after += seconds_of_look(o);
  if (o.hessian_at_loss > 0) {
    options hessian = o;
    hessian.landscape_images = 0;
    after += seconds_of_look(hessian);
  }
  r.figures["plan_after"] = after;
}

template <class Model>
result train(head which, const std::string& name, const typename Model::config& config, const settings& s,
             const options& o, std::uint64_t seed, const images& data, look_function look) {
  using trainer = polymoe::trainer<Model, polymoe::sgd>;
  polymoe::train_options t = experiment::options_of(s, seed);
  t.decay_all = true;  // as PyTorch's SGD with one group
  polymoe::sgd rule;
  rule.momentum = s.momentum;
  trainer run(Model(config), t, data.fit, rule);
  result r = experiment::train_arm(name, seed, s, data, run, [&](trainer& finished, result& own) {
    const polymoe::cost cost = Model::count(config, 1);
    own.figures["parameters"] = static_cast<double>(cost.params);
    own.figures["active_parameters"] = static_cast<double>(cost.active_params);
    own.figures["macs"] = static_cast<double>(cost.macs);
    own.figures["routed_share"] = static_cast<double>(cost.routed_macs) / static_cast<double>(cost.macs);
    add_own(finished, which, s, o, data, look, own);
  });
  if (s.plan) plan_own(run, which, s, o, data, look, r);
  return r;
}

template <class T, class B>
result run_arm(head which, const std::string& name, const settings& s, const options& o, std::uint64_t seed,
               const images& data, look_function look) {
  const nn::resnet_sizes z = sizes_of(o, data);
  const index classes = data.test.classes();
  if (which == head::dense)
    return train<dense_classifier<T, B>>(which, name, dense_model<T, B>(z, classes), s, o, seed, data, look);
  return train<experts_classifier<T, B>>(
      which, name, experts_model<T, B>(z, head_of<T, B>(which, z.features(), classes)), s, o, seed, data, look);
}

}  // namespace
}  // namespace paper_b
