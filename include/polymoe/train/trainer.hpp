// trainer<Model>: the training loop of a classifier, as a value that can be stopped, saved and resumed at any step.
//
// One step: fill a batch, forward, loss, backward, clip, optimiser, commit of balance state, refresh of derived copies.
// Everything random is a function of (seed, step, index), so a resumed run continues with the same bits: a checkpoint
// holds parameters, optimiser moments, state, counters and the sums of the unfinished epoch.  Only the tensor
// "trainer.seconds" in it depends on the clock: all others are equal bit for bit, interrupted or not.
#pragma once

#include <charconv>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "../core/workspace.hpp"
#include "../nn/cross_entropy.hpp"
#include "safetensors.hpp"
#include "schedule.hpp"
#include "telemetry.hpp"
#include "training.hpp"

namespace polymoe::inline v0 {

struct train_options {
  index batch = 128;
  index epochs = 6;
  double learning_rate = 2e-3;
  double weight_decay = 0.05;
  double warmup_epochs = 0.5;
  double clip_norm = 1.0;  ///< 0: no clipping
  double smoothing = 0.0;  ///< label smoothing
  double noise = 1.0;      ///< multiplies router noise
  index accumulate = 1;    ///< micro-batches per step; their gradients are averaged
  double ema = 0.0;        ///< decay of the averaged weights for evaluate_average; 0: none are kept
  augment_options augment{};
  std::uint64_t seed = 1;
  int threads = 1;
};

/// What one step did.
struct train_step {
  double loss = 0, balance_loss = 0, accuracy = 0, learning_rate = 0, grad_norm = 0;
  double drop_rate = 0, max_over_mean = 0, load_cv = 0;
  index images = 0;
  bool has_experts = false;
};

/// What one epoch of training or one evaluation gave; sums over images, not means of batch means.
struct train_summary {
  double loss = 0, accuracy = 0, seconds = 0, images_per_second = 0;
  index images = 0;
  model_telemetry experts;
  std::vector<index> confusion;                   ///< [classes, classes] true x predicted (evaluation only)
  std::vector<std::vector<double>> class_expert;  ///< per layer [classes, E] (evaluation only)
};

/// Calls f(layer, saved) for every Mixture-of-Experts layer of a model, in order.
template <class Model, class F>
void each_expert_layer(Model& m, typename Model::saved& s, F f) {
  nn::each_module(m, s, [&](auto& module, auto& saved) {
    if constexpr (requires(context<typename Model::backend>& c) { module.balance_loss(c, saved); }) f(module, saved);
  });
}

template <class Model>
class trainer {
 public:
  // Stripped of the name it has in Model: nvcc spells the types of kernels by the first name they were given, and cannot
  // spell one with a string in it.
  using T = std::remove_cv_t<typename Model::scalar>;
  using B = typename Model::backend;
  using M = master_t<T>;
  using R = real_t<M>;
  using memory = typename B::memory;
  using block = owned_block<memory>;
  using source = backend::batch_source<std::remove_cv_t<typename Model::scalar>, B>;
  using criterion = nn::cross_entropy<std::remove_cv_t<typename Model::scalar>, B>;
  static_assert(!is_dual<T>, "polymoe: a trainer needs plain numbers; dual tensors are for Hessian-vector products");

  /// `data` has to outlive the trainer.  Throws when options, data and model do not fit together.
  trainer(Model model, train_options o, const train_test& data)
      : options_(checked(o, data)),
        work_(std::move(model), {.max_rows = o.batch, .threads = o.threads, .seed = o.seed}),
        loss_({.classes = data.train.classes(), .smoothing = o.smoothing}),
        train_(work_.ctx(), data.train,
               {.batch = o.batch, .shuffle = true, .drop_last = true, .augment = o.augment, .seed = o.seed}),
        test_(work_.ctx(), data.test, {.batch = o.batch}),
        optimiser_(work_.ctx(), work_.entries(), work_.values(), o.ema > 0),
        classes_(data.train.classes()) {
    require(work_.module().in_cols() == data.train.features() && work_.module().out_cols() == classes_,
            "trainer: the model maps ", work_.module().in_cols(), " values to ", work_.module().out_cols(),
            " classes, the data set has images of ", data.train.features(), " values in ", classes_, " classes");
    binder<B> dry;
    dry.threads = o.threads;
    {
      auto measured = loss_.bind(dry, o.batch);
      (void)measured;
    }
    const index features = data.train.features();
    dry.saved.template take<T>(o.batch, features);
    dry.saved.template take<T>(o.batch, classes_);
    dry.saved.template take<T>(o.batch, classes_);
    memory_ = block(dry.saved.peak());
    scratch_ = block(dry.scratch.peak());
    binder<B> real;
    real.threads = o.threads;
    real.saved = memory_.as_arena();
    loss_saved_ = loss_.bind(real, o.batch);
    x_ = real.saved.template take<T>(o.batch, features);
    logits_ = real.saved.template take<T>(o.batch, classes_);
    d_logits_ = real.saved.template take<T>(o.batch, classes_);
    rule_.weight_decay = o.weight_decay;
    work_.step().noise = static_cast<float>(o.noise);
  }

  const train_options& options() const { return options_; }
  index steps_per_epoch() const { return train_.batches() / options_.accumulate; }
  index total_steps() const { return steps_per_epoch() * options_.epochs; }
  index step_count() const { return step_; }
  index epoch() const { return step_ / steps_per_epoch(); }
  index step_in_epoch() const { return step_ % steps_per_epoch(); }
  bool finished() const { return step_ >= total_steps(); }
  workspace<Model>& work() { return work_; }

  /// One optimiser step.  Throws, with the parameters as they were, when the gradient is not finite.
  train_step step() {
    require(!finished(), "trainer: all ", total_steps(), " steps are done");
    const auto begin = std::chrono::steady_clock::now();
    if (step_in_epoch() == 0) epoch_sums_ = {};
    if (loader_epoch_ != epoch()) train_.begin_epoch(work_.ctx(), static_cast<std::uint64_t>(loader_epoch_ = epoch()));
    step_state& s = work_.step();
    s.step = step_;
    s.learning_rate = static_cast<float>(rate(step_));
    work_.ctx().mode = run_mode::train;

    train_step r;
    double loss = 0;
    index correct = 0;
    model_telemetry experts;
    const double share = 1.0 / static_cast<double>(options_.accumulate);
    s.balance = static_cast<float>(share);
    work_.zero_grads();
    for (index micro = 0; micro < options_.accumulate; ++micro) {
      s.micro = micro;
      const index n = train_.fill(work_.ctx(), step_in_epoch() * options_.accumulate + micro, x_);
      work_.forward(x_.rows_at(0, n), logits_.rows_at(0, n));
      run_loss(train_, n, d_logits_.rows_at(0, n), share);
      work_.backward(d_logits_.rows_at(0, n), {});
      const loss_report report = last_loss();
      r.images += n;
      loss += report.loss * static_cast<double>(n);
      correct += report.correct;
      collect(r, experts);
    }
    r.loss = loss / static_cast<double>(r.images);
    r.accuracy = static_cast<double>(correct) / static_cast<double>(r.images);
    r.learning_rate = s.learning_rate;
    r.drop_rate = experts.drop_rate(), r.max_over_mean = experts.max_over_mean();
    r.grad_norm = update(r.loss);
    each_expert_layer(work_.module(), work_.saved(), [&](auto& layer, auto&) { layer.commit(work_.ctx()); });
    work_.refresh();
    ++step_;

    epoch_sums_.images += r.images;
    epoch_sums_.loss += loss;
    epoch_sums_.hits += correct;
    auto& layers = epoch_sums_.experts.layers;
    layers.resize(std::max(layers.size(), experts.layers.size()));
    for (std::size_t i = 0; i < experts.layers.size(); ++i) layers[i].add(experts.layers[i]);
    epoch_sums_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return r;
  }

  /// The epoch so far, or the one that has just ended.
  train_summary epoch_summary() const {
    train_summary s;
    s.images = epoch_sums_.images;
    if (s.images == 0) return s;
    s.loss = epoch_sums_.loss / static_cast<double>(s.images);
    s.accuracy = static_cast<double>(epoch_sums_.hits) / static_cast<double>(s.images);
    s.seconds = epoch_sums_.seconds;
    s.images_per_second = s.seconds > 0 ? static_cast<double>(s.images) / s.seconds : 0;
    s.experts = epoch_sums_.experts;
    return s;
  }

  /// The test images in evaluation mode; `visit(batch, n)` is called after each batch's forward.
  template <class Visit>
  train_summary evaluate(Visit visit) {
    work_.ctx().mode = run_mode::eval;
    train_summary r;
    r.confusion.assign(static_cast<std::size_t>(classes_ * classes_), 0);
    double loss = 0, forward = 0;
    index hits = 0;
    for (index b = 0; b < test_.batches(); ++b) {
      const index n = test_.fill(work_.ctx(), b, x_);
      const std::int32_t* labels = test_.host_labels(n).data();
      const auto begin = std::chrono::steady_clock::now();
      work_.forward(x_.rows_at(0, n), logits_.rows_at(0, n));
      const std::vector<T> logits = host_logits(n);
      forward += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      run_loss(test_, n, {});
      const loss_report report = last_loss();
      loss += report.loss * static_cast<double>(n);
      hits += report.correct;
      r.images += n;
      for (index i = 0; i < n; ++i) {
        const T* row = logits.data() + i * classes_;
        index best = 0;
        for (index k = 1; k < classes_; ++k)
          if (static_cast<compute_t<T>>(row[k]) > static_cast<compute_t<T>>(row[best])) best = k;
        ++r.confusion[static_cast<std::size_t>(labels[i] * classes_ + best)];
      }
      std::size_t layer = 0;
      each_expert_layer(work_.module(), work_.saved(), [&](auto& module, auto& saved) {
        if (r.class_expert.size() <= layer) {
          r.class_expert.resize(layer + 1), r.experts.layers.resize(layer + 1);
          r.class_expert[layer].assign(static_cast<std::size_t>(classes_ * saved.routing.plan.experts), 0.0);
        }
        r.experts.layers[layer].add(module.stats(work_.ctx(), saved));
        count_class_expert(module.plan(work_.ctx(), saved), labels, n, r.class_expert[layer]);
        ++layer;
      });
      visit(b, n);
    }
    r.loss = loss / static_cast<double>(r.images);
    r.accuracy = static_cast<double>(hits) / static_cast<double>(r.images);
    r.seconds = forward;
    r.images_per_second = forward > 0 ? static_cast<double>(r.images) / forward : 0;
    work_.ctx().mode = run_mode::train;
    return r;
  }
  train_summary evaluate() { return evaluate([](index, index) {}); }
  /// The same with the averaged weights in place of the trained ones, which are put back afterwards.
  train_summary evaluate_average() {
    require(options_.ema > 0, "trainer: evaluate_average needs train_options::ema above 0, it is ", options_.ema);
    const auto exchange = [&] {
      const std::vector<R> trained = work_.values_on_host(), averaged = to_host(optimiser_.average());
      work_.set_values(averaged), to_backend(optimiser_.average(), trained);
      work_.refresh();
    };
    exchange();
    const train_summary r = evaluate();
    exchange();
    return r;
  }

  /// Writes everything a resumed run needs, atomically.  `extra` is kept in the file's metadata.
  void save(const std::string& path, std::map<std::string, std::string> extra = {}) {
    std::vector<tensor_ref> tensors;
    host_image image = copied_to_host();
    for_each_tensor(image, [&](const std::string& name, const std::vector<index>& dims, auto* data) {
      tensors.push_back(make_tensor(name, dims, data));
    });
    const std::vector<double> sums = pack_sums();
    tensors.push_back(make_tensor("trainer.sums", {static_cast<index>(sums.size())}, sums.data()));
    tensors.push_back(make_tensor("trainer.seconds", {1}, &epoch_sums_.seconds));
    extra["polymoe.step"] = std::to_string(step_);
    extra["polymoe.identity"] = identity();
    write_safetensors(path, tensors, extra);
  }
  /// Continues where `save` was called.  Throws, and changes nothing, when the file belongs to another model or run.
  std::map<std::string, std::string> load(const std::string& path) {
    const safetensors_file file(path);
    const auto meta = file.metadata();
    const auto at = meta.find("polymoe.step"), id = meta.find("polymoe.identity");
    require(at != meta.end() && id != meta.end(), path,
            ": not a checkpoint of this trainer (no polymoe.step in its metadata)");
    require(id->second == identity(), path, ": the checkpoint belongs to another run: it has ", id->second,
            ", this run has ", identity());
    const std::string& digits = at->second;
    index step = -1;
    const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), step);
    require(end.ec == std::errc() && end.ptr == digits.data() + digits.size() && step >= 0 && step <= total_steps(),
            path, ": polymoe.step is ", digits, ", this run has the steps 0..", total_steps());
    std::size_t known = 2;
    host_image image = copied_to_host();
    for_each_tensor(image, [&](const std::string& name, const std::vector<index>& dims, auto* data) {
      const auto* t = file.find(name);
      require(t, path, ": no tensor ", name, ", which this model has");
      require(t->dims == dims, path, ": tensor ", name, " is ", dims_text(t->dims), ", this model needs ",
              dims_text(dims));
      const tensor_dtype dtype = tensor_dtype_of<std::remove_pointer_t<decltype(data)>>;
      require(t->dtype == dtype, path, ": tensor ", name, " holds ", dtype_name(t->dtype), ", this model needs ",
              dtype_name(dtype));
      ++known;
    });
    require(file.tensors().size() == known, path, ": it has ", file.tensors().size(), " tensors, this model ", known);
    running_sums sums = unpack_sums(file, path);
    file.copy_to("trainer.seconds", std::span<double>(&sums.seconds, 1));

    // All is checked: from here on nothing throws.
    for_each_tensor(image, [&](const std::string& name, const std::vector<index>& dims, auto* data) {
      index n = 1;
      for (const index d : dims) n *= d;
      file.copy_to(name, std::span(data, static_cast<std::size_t>(n)));
    });
    epoch_sums_ = std::move(sums);
    step_ = step;
    work_.set_values(image.values), work_.set_state(image.state);
    for (int i = 0; i < adamw::moments; ++i) to_backend(optimiser_.moment(i), image.moments[i]);
    if (options_.ema > 0) to_backend(optimiser_.average(), image.average);
    work_.refresh();
    return meta;
  }
  /// What has to be equal for a checkpoint to fit: number type, data, batch, epochs, seed and the recipe.
  std::string identity() const {
    std::ostringstream s;
    s.precision(17);
    const augment_options& a = options_.augment;
    s << dtype_name(tensor_dtype_of<T>) << ", images " << train_.data().size() << ", batch " << options_.batch
      << ", epochs " << options_.epochs << ", seed " << options_.seed << ", lr " << options_.learning_rate << ", decay "
      << options_.weight_decay << ", warm-up " << options_.warmup_epochs << ", clip " << options_.clip_norm
      << ", smoothing " << options_.smoothing << ", noise " << options_.noise
      << ", accumulate " << options_.accumulate << ", ema " << options_.ema << ", pad " << a.pad << ", border "
      << static_cast<int>(a.outside) << ", flip " << static_cast<int>(a.mirror) << ", cutout " << a.cutout;
    return s.str();
  }
  view<const T> images() const { return x_; }

 private:
  struct running_sums {
    index images = 0, hits = 0;
    double loss = 0, seconds = 0;
    model_telemetry experts;
  };

  static const train_options& checked(const train_options& o, const train_test& data) {
    require(o.batch >= 1, "trainer: batch is ", o.batch, ", it must be at least 1");
    require(o.epochs >= 1, "trainer: epochs is ", o.epochs, ", it must be at least 1");
    require(o.threads >= 1, "trainer: threads is ", o.threads, ", it must be at least 1");
    require(o.accumulate >= 1, "trainer: accumulate is ", o.accumulate, ", it must be at least 1");
    require(o.ema >= 0 && o.ema < 1, "trainer: ema is ", o.ema, ", it must lie in [0, 1)");
    require(data.train.size() >= o.batch, "trainer: ", data.train.size(),
            " training images are less than one batch of ", o.batch);
    require(data.train.size() / o.batch >= o.accumulate, "trainer: an epoch has ", data.train.size() / o.batch,
            " batches, one step accumulates ", o.accumulate);
    require(data.test.features() == data.train.features() && data.test.classes() == data.train.classes(),
            "trainer: test images have ", data.test.features(), " values and ", data.test.classes(),
            " classes, training images ", data.train.features(), " and ", data.train.classes());
    return o;
  }
  static std::string dims_text(const std::vector<index>& dims) {
    std::string s = "[";
    for (std::size_t i = 0; i < dims.size(); ++i) s += (i ? ", " : "") + std::to_string(dims[i]);
    return s + "]";
  }
  double rate(index step) const {
    learning_rate_schedule schedule;
    schedule.peak = options_.learning_rate, schedule.total = total_steps();
    schedule.warmup = static_cast<index>(options_.warmup_epochs * static_cast<double>(steps_per_epoch()));
    return schedule(step);
  }
  void run_loss(const source& from, index n, view<T> d, double weight = 1) {
    context<B> c = work_.ctx();
    c.scratch = scratch_.as_arena();
    loss_.run(c, logits_.rows_at(0, n), from.labels(n), d, loss_saved_, weight);
  }
  /// The report of the last loss; waits for it.
  loss_report last_loss() {
    loss_report r;
    memory::read(work_.ctx().stream, &r, loss_saved_.report, sizeof r);
    return r;
  }
  std::vector<T> host_logits(index n) {
    std::vector<T> v(static_cast<std::size_t>(n * classes_));
    memory::read(work_.ctx().stream, v.data(), logits_.ptr[0], v.size() * sizeof(T));
    return v;
  }
  void collect(train_step& r, model_telemetry& experts) {
    std::size_t layer = 0;
    double cv = 0;
    each_expert_layer(work_.module(), work_.saved(), [&](auto& module, auto& saved) {
      const routing_stats x = module.stats(work_.ctx(), saved);
      if (experts.layers.size() <= layer) experts.layers.resize(layer + 1);
      experts.layers[layer++].add(x);
      r.has_experts = true;
      r.balance_loss += static_cast<double>(value_of(module.balance_loss(work_.ctx(), saved)));
      cv += x.load_cv();
    });
    if (layer > 0) r.load_cv += cv / static_cast<double>(layer) / static_cast<double>(options_.accumulate);
  }
  /// Clips and applies the optimiser; returns the gradient norm before clipping.
  double update(double loss) {
    const double norm = optimiser_.step(work_.ctx(), rule_, options_.clip_norm, work_.values().ptr[0],
                                        work_.grads().ptr[0], ema{options_.ema});
    require(std::isfinite(norm), "trainer: the gradient norm of step ", step_, " is not finite (loss ",
            loss, "); lower the learning rate ", options_.learning_rate, " or look for bad input");
    return norm;
  }
  /// Everything a checkpoint holds, on the host.
  struct host_image {
    std::vector<R> values, moments[adamw::moments], average;
    std::vector<float> state;
  };
  std::vector<R> to_host(const R* from) {
    std::vector<R> v(static_cast<std::size_t>(work_.values().cols));
    memory::read(work_.ctx().stream, v.data(), from, v.size() * sizeof(R));
    return v;
  }
  void to_backend(R* to, const std::vector<R>& v) {
    memory::write(work_.ctx().stream, to, v.data(), v.size() * sizeof(R));
  }
  host_image copied_to_host() {
    host_image image;
    image.values = work_.values_on_host(), image.state = work_.state_on_host();
    for (int i = 0; i < adamw::moments; ++i) image.moments[i] = to_host(optimiser_.moment(i));
    if (options_.ema > 0) image.average = to_host(optimiser_.average());
    return image;
  }
  /// Calls f(name, dims, pointer) for everything a checkpoint holds: parameters, moments, state.
  template <class F>
  void for_each_tensor(host_image& image, F f) {
    for (const param_entry& e : work_.entries()) f(e.name, e.dims, image.values.data() + e.offset);
    for (int i = 0; i < adamw::moments; ++i)
      for (const param_entry& e : work_.entries())
        f("optimizer." + std::string(adamw::moment_name(i)) + "." + e.name, e.dims, image.moments[i].data() + e.offset);
    if (options_.ema > 0)
      for (const param_entry& e : work_.entries()) f("average." + e.name, e.dims, image.average.data() + e.offset);
    for (const param_entry& e : work_.state_entries()) f("state." + e.name, e.dims, image.state.data() + e.offset);
  }

  /// The unfinished epoch's sums as numbers, so that its log line is the same after a resume; the time is apart.
  std::vector<double> pack_sums() const {
    const running_sums& s = epoch_sums_;
    std::vector<double> v{static_cast<double>(s.images), static_cast<double>(s.hits), s.loss,
                          static_cast<double>(s.experts.layers.size())};
    for (const auto& l : s.experts.layers) {
      // Arrays, here and below: nvcc writes loops over braced lists in this class as text that no compiler reads.
      const index counts[] = {l.calls, l.units, l.choices, l.placed, l.overflow, l.bad_rows};
      for (const index n : counts) v.push_back(static_cast<double>(n));
      v.insert(v.end(), {l.entropy, l.margin, l.load_cv, l.max_over_mean, static_cast<double>(l.load.size())});
      v.insert(v.end(), l.load.begin(), l.load.end());
    }
    return v;
  }
  running_sums unpack_sums(const safetensors_file& file, const std::string& path) const {
    const tensor_ref& stored = file.at("trainer.sums");
    std::vector<double> v(static_cast<std::size_t>(stored.elements()));
    file.copy_to("trainer.sums", std::span<double>(v));
    std::size_t at = 0;
    const auto next = [&] {
      require(at < v.size(), path, ": trainer.sums ends after ", v.size(), " numbers");
      return v[at++];
    };
    // A double holds every count below 2^53; anything else was not written by pack_sums.
    const auto count = [&](const char* what, double most) {
      const double x = next();
      require(x >= 0 && x <= most && x == std::floor(x), path, ": trainer.sums has ", x, " ", what, ", at most ", most,
              " are possible");
      return static_cast<index>(x);
    };
    constexpr double large = 9007199254740992.0;
    running_sums s;
    s.images = count("images", large), s.hits = count("hits", large), s.loss = next();
    s.experts.layers.resize(static_cast<std::size_t>(count("layers", 4096)));
    for (layer_telemetry& l : s.experts.layers) {
      index* const counts[] = {&l.calls, &l.units, &l.choices, &l.placed, &l.overflow, &l.bad_rows};
      for (index* n : counts) *n = count("units or choices", large);
      double* const sums[] = {&l.entropy, &l.margin, &l.load_cv, &l.max_over_mean};
      for (double* x : sums) *x = next();
      l.load.resize(static_cast<std::size_t>(count("experts", max_experts)));
      for (double& x : l.load) x = next();
    }
    require(at == v.size(), path, ": trainer.sums has ", v.size(), " numbers, ", at, " are used");
    return s;
  }

  train_options options_;
  workspace<Model> work_;
  criterion loss_;
  typename criterion::saved loss_saved_{};
  source train_, test_;
  adamw rule_;
  backend::optimizer_memory<adamw, M, B> optimiser_;
  index classes_ = 0, step_ = 0, loader_epoch_ = -1;
  block memory_, scratch_;
  view<T> x_, logits_, d_logits_;
  running_sums epoch_sums_;
};

}  // namespace polymoe
