// trainer<Model>: the training loop of a classifier, as a value that can be stopped, saved and resumed at any step.
//
// One step: fill a batch, forward, loss, backward, clip, optimiser, commit of state, refresh of derived copies.
// Backends that can write a step down (CUDA: one graph) replay it; they run ahead of the host, and what steps did is
// read from their memory when advance() returns. Everything random is a function of (seed, step, index), so a resumed
// run continues with the same bits: a checkpoint holds parameters, optimiser moments, state, counters and the sums of
// the unfinished epoch.  Only the tensor "trainer.seconds" in it depends on the clock: all others are equal bit for
// bit, interrupted or not.
#pragma once

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "../core/workspace.hpp"
#include "../nn/cross_entropy.hpp"
#include "running_sums.hpp"
#include "train_options.hpp"
#include "train_summary.hpp"
#include "training.hpp"

namespace polymoe::inline v0 {

/// Calls f(layer, saved) for every Mixture-of-Experts layer of a model, in order.
template <class Model, class F>
void each_expert_layer(Model& m, typename Model::saved& s, F f) {
  nn::each_module(m, s, [&](auto& module, auto& saved) {
    if constexpr (requires(context<typename Model::backend>& c) { module.balance_loss(c, saved); }) f(module, saved);
  });
}

/// `Rule` is the optimiser: adamw, or sgd with its momentum.
template <class Model, class Rule = adamw>
class trainer {
 public:
  // Stripped of the name it has in Model: nvcc spells the types of kernels by the first name they were given, and
  // cannot spell one with a string in it.
  using T = std::remove_cv_t<typename Model::scalar>;
  using B = typename Model::backend;
  using M = master_t<T>;
  using R = real_t<M>;
  using memory = typename B::memory;
  using block = owned_block<memory>;
  using source = backend::batch_source<std::remove_cv_t<typename Model::scalar>, B>;
  using criterion = nn::cross_entropy<std::remove_cv_t<typename Model::scalar>, B>;
  using records = backend::step_records<B>;
  static_assert(!is_dual<T>, "polymoe: a trainer needs plain numbers; dual tensors are for Hessian-vector products");

  /// `data` has to outlive the trainer.  Throws when options, data and model do not fit together.  `first` draws the
  /// first values of parameters, as in workspace.
  trainer(Model model, train_options o, const train_test& data, Rule rule = {},
          typename workspace<Model>::initialiser first = nullptr)
      : options_(o.checked(data)),
        work_(std::move(model), {.max_rows = o.batch, .threads = o.threads, .seed = o.seed}, first),
        loss_({.classes = data.train.classes(), .smoothing = o.smoothing}),
        train_(work_.ctx(), data.train, loading(o, true), o.accumulate),
        test_(work_.ctx(), data.test, loading(o, false)),
        entries_(decaying(work_.entries(), o.decay_all)),
        rule_(rule),
        optimiser_(work_.ctx(), entries_, work_.values(), o.ema > 0),
        runner_(o.graph),
        records_(o.batch, o.accumulate),
        rates_(o.rates(steps_per_epoch())),
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
    if (o.temperature) temperature_.emplace(*o.temperature), set_temperature(temperature_->at(0));
    each_expert_layer(work_.module(), work_.saved(), [&](auto& layer, auto& saved) { records_.watch(layer, saved); });
    records_.ready(work_.ctx(), loss_saved_.report, optimiser_.report());
    work_.ctx().halted = &optimiser_.report()->skipped;
    if (!o.expert_of_class.empty()) {
      class_table_ = block(o.expert_of_class.size() * sizeof(int));
      memory::write(work_.ctx().stream, class_table_.data(), o.expert_of_class.data(), class_table_.size());
      targets_ = block(static_cast<std::size_t>(o.batch * o.units_per_image) * sizeof(int));
      work_.ctx().targets = targets();
    }
  }

  const train_options& options() const { return options_; }
  index steps_per_epoch() const { return train_.batches() / options_.accumulate; }
  index total_steps() const { return rates_.total; }
  index total_epochs() const { return ceil_div(total_steps(), steps_per_epoch()); }
  index step_count() const { return step_; }
  /// Epochs that are over: the last one, which may be short, is when the run is.
  index epoch() const { return finished() ? total_epochs() : step_ / steps_per_epoch(); }
  /// 0 between epochs and after the last one.
  index step_in_epoch() const { return finished() ? 0 : step_ % steps_per_epoch(); }
  bool finished() const { return step_ >= total_steps(); }
  workspace<Model>& work() { return work_; }

  /// One optimiser step.  Throws, with the parameters as they were, when the gradient is not finite.
  train_step step() { return advance(1); }
  /// Up to `steps` steps, not beyond the end of the epoch, and what the last one did.  Backends that run ahead are
  /// waited for once every step_records::most steps, not once a step.  The steps before one whose
  /// gradient is not finite count.
  train_step advance(index steps) {
    require(!finished(), "trainer: all ", total_steps(), " steps are done");
    require(steps >= 1, "trainer: advance by ", steps, " steps");
    if (step_in_epoch() == 0) epoch_sums_ = {};
    work_.ctx().mode = run_mode::train;
    train_step last;
    const index room = std::min(steps_per_epoch() - step_in_epoch(), total_steps() - step_);
    for (index left = std::min(steps, room); left > 0;) {
      const auto begin = std::chrono::steady_clock::now();
      index n = std::min(left, records::most);
      if (temperature_ && temperature_->ahead() > 0) n = std::min(n, temperature_->ahead());
      for (index i = 0; i < n; ++i) start_step(step_ + i);
      index done = 0;
      const std::vector<step_record> all = records_.read(work_.ctx(), step_, n);
      while (done < n && !all[static_cast<std::size_t>(done)].update.skipped)
        last = count_step(all[static_cast<std::size_t>(done++)]);
      if (done > 0)
        epoch_sums_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      if (done < n) refuse_step(all[static_cast<std::size_t>(done)]);
      left -= n;
    }
    return last;
  }
  /// For a caller that changed settings of the model or of its layers after steps: a step that was written down holds
  /// the old ones.  Evaluation does so too.
  void settings_changed() { runner_.forget(); }

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
    return evaluate(test_, visit);
  }
  train_summary evaluate() { return evaluate([](index, index) {}); }
  /// The same on other images of the same size and classes; their statistics are used as they are.  `batch` images a
  /// call, at most as many as in training (0: as many).
  train_summary evaluate_on(const dataset& images, index batch = 0) {
    return evaluate_on(images, batch, [](index, index) {});
  }
  /// `visit(batch, n)` is called after each batch's forward.
  template <class Visit>
  train_summary evaluate_on(const dataset& images, index batch, Visit visit) {
    require(batch >= 0 && batch <= options_.batch, "trainer: evaluation in calls of ", batch,
            " images, memory was bound for ", options_.batch);
    require(images.features() == train_.data().features() && images.classes() == classes_, "trainer: images have ",
            images.features(), " values and ", images.classes(), " classes, those of training ",
            train_.data().features(), " and ", classes_);
    loader_options l = loading(options_, false);
    if (batch > 0) l.batch = batch;
    source from(work_.ctx(), images, l);
    return evaluate(from, visit);
  }
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
    const std::vector<double> sums = epoch_sums_.packed();
    tensors.push_back(make_tensor("trainer.sums", {static_cast<index>(sums.size())}, sums.data()));
    tensors.push_back(make_tensor("trainer.seconds", {1}, &epoch_sums_.seconds));
    const std::vector<double> tau = temperature_numbers();
    if (!tau.empty())
      tensors.push_back(make_tensor("trainer.temperature", {static_cast<index>(tau.size())}, tau.data()));
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
    std::vector<double> tau = temperature_numbers();
    std::optional<temperature_control> temperature = temperature_;
    std::size_t known = tau.empty() ? 2 : 3;
    if (!tau.empty()) {
      const tensor_ref* t = file.find("trainer.temperature");
      require(t && t->elements() == static_cast<index>(tau.size()), path, ": trainer.temperature does not have the ",
              tau.size(), " numbers of this run's schedule");
      file.copy_to("trainer.temperature", std::span<double>(tau));
      temperature->restore(tau);
    }
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
    running_sums sums = running_sums::unpacked(file, path);
    file.copy_to("trainer.seconds", std::span<double>(&sums.seconds, 1));

    // All is checked: from here on nothing throws.
    for_each_tensor(image, [&](const std::string& name, const std::vector<index>& dims, auto* data) {
      index n = 1;
      for (const index d : dims) n *= d;
      file.copy_to(name, std::span(data, static_cast<std::size_t>(n)));
    });
    epoch_sums_ = std::move(sums);
    temperature_ = std::move(temperature);
    step_ = step;
    if (temperature_) set_temperature(temperature_->at(std::max<index>(step_ - 1, 0)));
    work_.set_values(image.values), work_.set_state(image.state);
    for (int i = 0; i < Rule::moments; ++i) to_backend(optimiser_.moment(i), image.moments[i]);
    if (options_.ema > 0) to_backend(optimiser_.average(), image.average);
    work_.refresh();
    return meta;
  }
  /// What has to be equal for a checkpoint to fit.
  std::string identity() const {
    return options_.identity(dtype_name(tensor_dtype_of<T>), train_.data().size());
  }
  view<const T> images() const { return x_; }
  /// Of the last call's images, in the backend's memory: for the visitors of an evaluation.
  view<const T> logits() const { return logits_; }
  /// [batch * units_per_image] experts that the images of the current call are meant for, in the backend's memory; null
  /// without train_options::expert_of_class.
  const int* targets() const { return static_cast<const int*>(targets_.data()); }

 private:
  template <class Visit>
  train_summary evaluate(source& from, Visit visit) {
    work_.ctx().mode = run_mode::eval;
    runner_.forget();  // so that what the host knows of the last call is the training step's again
    train_summary r;
    r.confusion.assign(static_cast<std::size_t>(classes_ * classes_), 0);
    double loss = 0, forward = 0;
    index hits = 0;
    for (index b = 0; b < from.batches(); ++b) {
      const index n = from.fill(work_.ctx(), b, x_);
      aim(from, n);
      const std::int32_t* labels = from.host_labels(n).data();
      const auto begin = std::chrono::steady_clock::now();
      work_.forward(x_.rows_at(0, n), logits_.rows_at(0, n));
      const std::vector<T> logits = host_logits(n);
      forward += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      run_loss(from, n, {});
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
  static std::vector<param_entry> decaying(std::vector<param_entry> entries, bool all) {
    if (all)
      for (param_entry& e : entries) e.decays = decay::yes;
    return entries;
  }
  static std::string dims_text(const std::vector<index>& dims) {
    std::string s = "[";
    for (std::size_t i = 0; i < dims.size(); ++i) s += (i ? ", " : "") + std::to_string(dims[i]);
    return s + "]";
  }
  void set_temperature(double tau) { work_.step().temperature = static_cast<float>(tau); }
  std::vector<double> temperature_numbers() const {
    return temperature_ ? temperature_->packed() : std::vector<double>{};
  }
  void aim(const source& from, index n) {
    if (options_.expert_of_class.empty()) return;
    look_up_labels(work_.ctx(), from.labels(n), static_cast<const int*>(class_table_.data()), options_.units_per_image,
                   static_cast<int*>(targets_.data()));
  }
  void run_loss(const source& from, index n, view<T> d, double weight = 1) {
    context<B> c = work_.ctx();
    c.scratch = scratch_.as_arena();
    loss_.run(c, logits_.rows_at(0, n), from.labels(n), d, loss_saved_, weight, from.mix(n));
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
  static loader_options loading(const train_options& o, bool training) {
    loader_options l;
    l.batch = o.batch, l.seed = o.seed, l.resident_bytes = o.resident_bytes;
    if (training) l.shuffle = l.drop_last = true, l.augment = o.augment;
    else l.seed = 0;
    return l;
  }
  /// Starts a step with everything that may change between two: the backend need not be done when it returns.
  void start_step(index step) {
    train_.begin_step(work_.ctx(), step);
    step_state& s = work_.step();
    s.step = step, s.micro = 0;
    s.learning_rate = static_cast<float>(rates_(step));
    s.balance = static_cast<float>(1.0 / static_cast<double>(options_.accumulate));
    if (temperature_) s.temperature = static_cast<float>((*temperature_)(step));
    runner_.push(work_.ctx(), work_.step_of_backend(), s);
    work_.step_pushed();
    runner_.run(work_.ctx(), [this] { step_work(); });
    s.micro = options_.accumulate - 1;  // where the work, replayed or not, leaves it
    work_.step_pushed();
    train_.end_step(work_.ctx(), step, step + 1 < total_steps());
  }
  /// Everything the backend does in a step; it reads nothing from the host that changes from step to step.
  void step_work() {
    context<B>& c = work_.ctx();
    const double share = 1.0 / static_cast<double>(options_.accumulate);
    work_.zero_grads();
    for (index micro = 0; micro < options_.accumulate; ++micro) {
      runner_.set_micro(c, work_.step_of_backend(), micro);
      work_.step().micro = micro;
      work_.step_pushed();
      const index n = train_.fill_step(c, x_);
      aim(train_, n);
      work_.forward(x_.rows_at(0, n), logits_.rows_at(0, n));
      run_loss(train_, n, d_logits_.rows_at(0, n), share);
      work_.backward(d_logits_.rows_at(0, n), {});
      records_.note(c, micro, [this](auto f) { each_expert_layer(work_.module(), work_.saved(), f); });
    }
    optimiser_.step(c, rule_, options_.clip_norm, work_.values().ptr[0], work_.grads().ptr[0], ema{options_.ema});
    records_.finish(c);
    // Everything that has state: balance biases, running statistics.
    nn::each_module(work_.module(), work_.saved(), [&](auto& module, auto&) {
      if constexpr (requires { module.commit(c); }) module.commit(c);
    });
    work_.refresh();
  }
  /// Adds what a step did to the sums of the epoch.
  train_step count_step(const step_record& x) {
    train_step r;
    const auto images = static_cast<double>(x.images);
    r.images = x.images;
    r.loss = x.loss / images, r.accuracy = static_cast<double>(x.correct) / images;
    r.learning_rate = static_cast<float>(rates_(step_));
    r.has_experts = x.layer_calls > 0;
    r.balance_loss = x.balance_loss;
    if (r.has_experts) r.load_cv = x.load_cv / static_cast<double>(x.layer_calls);
    r.drop_rate = x.experts.drop_rate(), r.max_over_mean = x.experts.max_over_mean();
    r.grad_norm = x.update.norm;
    r.entropy = x.experts.entropy();
    r.temperature = temperature_ ? temperature_->at(step_) : static_cast<double>(work_.step().temperature);
    if (temperature_ && r.has_experts) temperature_->record(step_, r.entropy);
    ++step_;
    epoch_sums_.add(x);
    return r;
  }
  [[noreturn]] void refuse_step(const step_record& x) {
    optimiser_.resume(work_.ctx());
    detail::fail("trainer: the gradient norm of step ", step_, " is not finite (loss ",
                 x.loss / static_cast<double>(x.images), "; ", bad_gradients(), "); lower the learning rate ",
                 options_.learning_rate, " or look for bad input");
  }
  /// Which tensors' gradients are not finite.  A step that ran ahead of the host has overwritten them.
  std::string bad_gradients() {
    const std::vector<R> grads = to_host(work_.grads().ptr[0]);
    std::string first;
    index bad = 0;
    for (const param_entry& e : work_.entries()) {
      const auto begin = grads.begin() + e.offset;
      if (std::all_of(begin, begin + e.size, [](R g) { return std::isfinite(g); })) continue;
      if (bad++ == 0) first = e.name;
    }
    if (bad == 0) return "those at hand are finite: their squares are too large, or they are a later step's";
    return "in " + std::to_string(bad) + " of " + std::to_string(work_.entries().size()) + " tensors, first '" + first +
           "'";
  }
  /// Everything a checkpoint holds, on the host.
  struct host_image {
    std::vector<R> values, moments[Rule::moments], average;
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
    for (int i = 0; i < Rule::moments; ++i) image.moments[i] = to_host(optimiser_.moment(i));
    if (options_.ema > 0) image.average = to_host(optimiser_.average());
    return image;
  }
  /// Calls f(name, dims, pointer) for everything a checkpoint holds: parameters, moments, state.
  template <class F>
  void for_each_tensor(host_image& image, F f) {
    for (const param_entry& e : work_.entries()) f(e.name, e.dims, image.values.data() + e.offset);
    for (int i = 0; i < Rule::moments; ++i)
      for (const param_entry& e : work_.entries())
        f("optimizer." + std::string(Rule::moment_name(i)) + "." + e.name, e.dims, image.moments[i].data() + e.offset);
    if (options_.ema > 0)
      for (const param_entry& e : work_.entries()) f("average." + e.name, e.dims, image.average.data() + e.offset);
    for (const param_entry& e : work_.state_entries()) f("state." + e.name, e.dims, image.state.data() + e.offset);
  }

  train_options options_;
  workspace<Model> work_;
  criterion loss_;
  typename criterion::saved loss_saved_{};
  source train_, test_;
  std::vector<param_entry> entries_;  ///< as the optimiser sees them
  Rule rule_;
  backend::optimizer_memory<Rule, M, B> optimiser_;
  backend::step_runner<B> runner_;
  records records_;
  std::optional<temperature_control> temperature_;
  learning_rate_schedule rates_;
  index classes_ = 0, step_ = 0;
  block memory_, scratch_, class_table_, targets_;
  view<T> x_, logits_, d_logits_;
  running_sums epoch_sums_;
};

}  // namespace polymoe
