// The Hessian of a trained model's mean loss: the same model over dual numbers.
#include <polymoe/analysis/lanczos.hpp>
#include <polymoe/analysis/loss_hessian.hpp>
#include <polymoe/analysis/power_iteration.hpp>
#include <polymoe/analysis/spectral_density.hpp>
#include <polymoe/analysis/trace.hpp>

#include <algorithm>

#include "batches.hpp"
#include "heads.hpp"
#include "network.hpp"
#include "seconds.hpp"

namespace paper_b {
namespace {

using S = polymoe::dual<float>;

bool of_router(const std::string& name) { return name.find("router") != std::string::npos; }

/// Lists "<part>.density_at" and "<part>.density": the share of eigenvalues near a point, over that of its width.
template <class Hessian>
void add_density(Hessian& h, index probes, index steps, const std::string& part, result& r) {
  const auto measure = polymoe::analysis::spectral_density(h, {.probes = probes, .steps = steps, .seed = r.seed});
  const double low = measure.smallest(), high = measure.largest(), width = std::max(0.01 * (high - low), 1e-12);
  auto &at = r.lists[part + ".density_at"], &density = r.lists[part + ".density"];
  for (int i = -5; i <= 105; ++i) {
    at.push_back(low + 0.01 * i * (high - low));
    density.push_back(measure.smoothed(at.back(), width));
  }
}

/// Figures "<part>.lambda_noisy" of the sparse head: the paper took its Hessian with the noise of the gate, drawn anew
/// for every product.  Here every product has the same draws: it is the Hessian of one loss.
void add_noisy(const trained& model, const settings& s, const options& o, const images& data,
               const polymoe::dataset& from, const std::string& part, result& r) {
  const nn::resnet_sizes z = sizes_of(o, data);
  const index n = std::min(o.hessian_images, from.size()), batch = std::min<index>(s.batch, n);
  polymoe::workspace<experts_classifier<S>> w(
      experts_classifier<S>(experts_model<S>(z, noisy_head<S, polymoe::cpu>(z.features(), data.test.classes()))),
      {.max_rows = batch, .threads = s.threads, .seed = r.seed});
  w.step().balance = 0;  // the head is in training mode, its balance loss is no part of this
  set_trained(w, model);
  const batches images = first_batches(w.ctx().stream, from, n, batch);
  polymoe::analysis::loss_hessian h(w, images.rows, from.classes());
  const auto top =
      polymoe::analysis::lanczos(h, {.count = 1, .products = o.hessian_products, .tolerance = 1e-3, .seed = r.seed});
  r.figures[part + ".lambda_noisy"] = top.largest.front().value;
  r.figures[part + ".lambda_noisy_residual"] = top.largest.front().residual;
}

/// Steps along the first eigenvector: the paper's 21, from -0.5 to 0.5.
std::vector<double> steps_along() {
  std::vector<double> alphas;
  for (int i = -10; i <= 10; ++i) alphas.push_back(0.05 * i);
  return alphas;
}
index density_steps(const options& o) { return std::min<index>(40, o.hessian_products); }

/// Products with the Hessian of one part's images that look() and add_noisy() make at most.
index products_of(head which, const options& o) {
  const index spectra = 1 + (which != head::dense) + (which == head::sparse);  // whole, router held fixed, noisy
  return spectra * o.hessian_products + polymoe::analysis::power_options{}.iterations + o.trace_probes +
         o.density_probes * density_steps(o);
}

/// Returns the first eigenvector; none where the time is planned.
template <class Model>
std::vector<float> look(head which, const typename Model::config& config, const trained& model, const settings& s,
                        const options& o, const polymoe::dataset& from, const std::string& part, result& r) {
  const index n = std::min(o.hessian_images, from.size()), batch = std::min<index>(s.batch, n);
  polymoe::workspace<Model> w(Model(config), {.max_rows = batch, .threads = s.threads, .seed = r.seed});
  set_trained(w, model);
  const batches images = first_batches(w.ctx().stream, from, s.plan ? batch : n, batch);
  polymoe::analysis::loss_hessian h(w, images.rows, from.classes());
  const std::vector<double> alphas = steps_along();
  if (s.plan) {
    std::vector<float> v(static_cast<std::size_t>(h.size()), 1.0f), product(v.size());
    const double losses =
        static_cast<double>(alphas.size() + 1) * (which == head::dense ? 1 : 2);  // frozen gates as well
    r.figures["plan_look"] += static_cast<double>(n) / static_cast<double>(batch) *
                              (static_cast<double>(products_of(which, o)) * seconds_of([&] { h.apply(v, product); }) +
                               losses * seconds_of([&] { h.loss(); }));
    return {};
  }
  std::printf("%s, seed %llu: Hessian over %lld %s images, %lld parameters\n", r.arm.c_str(),
              static_cast<unsigned long long>(r.seed), static_cast<long long>(n), part.c_str(),
              static_cast<long long>(h.size()));
  std::fflush(stdout);
  const auto top = polymoe::analysis::lanczos(
      h, {.count = o.hessian_pairs, .products = o.hessian_products, .tolerance = 1e-3, .seed = r.seed});
  auto& values = r.lists[part + ".eigenvalues"];
  auto& residuals = r.lists[part + ".residuals"];
  for (const auto& pair : top.largest) values.push_back(pair.value), residuals.push_back(pair.residual);
  const auto power = polymoe::analysis::power_iteration(h, {.count = 1, .seed = r.seed});
  const auto trace = polymoe::analysis::trace(h, {.probes = o.trace_probes, .seed = r.seed});
  r.figures[part + ".lambda"] = values.front(), r.figures[part + ".lambda_residual"] = residuals.front();
  r.figures[part + ".lambda_power"] = power.front().value;
  r.figures[part + ".trace"] = trace.mean, r.figures[part + ".trace_error"] = trace.standard_error;
  r.figures[part + ".loss"] = h.loss();
  r.figures[part + ".hessian_images"] = static_cast<double>(n);
  r.lists[part + ".alpha"] = alphas;
  r.lists[part + ".loss_along"] = h.loss_along(top.largest.front().vector, alphas);
  if (which != head::dense) {
    // Gates are held as they are: how much of the sharpness is the router's?
    polymoe::analysis::loss_hessian rest(w, images.rows, from.classes(),
                                         {.includes = [](const std::string& name) { return !of_router(name); }});
    const auto frozen = polymoe::analysis::lanczos(
        rest, {.count = 1, .products = o.hessian_products, .tolerance = 1e-3, .seed = r.seed});
    r.figures[part + ".lambda_frozen"] = frozen.largest.front().value;
    r.figures[part + ".lambda_frozen_residual"] = frozen.largest.front().residual;
  }
  if (o.density_probes > 0) add_density(h, o.density_probes, density_steps(o), part, r);
  std::printf("  largest eigenvalue %.4g (within %.2g; power iteration %.4g), trace %.4g +- %.2g\n", values.front(),
              residuals.front(), power.front().value, trace.mean, trace.standard_error);
  return top.largest.front().vector;
}

void add_hessians(head which, const trained& model, const settings& s, const options& o, const images& data,
                  result& r) {
  const nn::resnet_sizes z = sizes_of(o, data);
  const index classes = data.test.classes();
  const auto of_spec = [&]<class Spec>(std::type_identity<Spec>) {
    return any_head<Spec>(experts_config<Spec>(z.features(), classes));  // balance losses have no part in evaluation
  };
  const auto head_of_experts = [&] {
    return which == head::soft             ? of_spec(std::type_identity<soft_coded<S>>())
           : which == head::soft_published ? of_spec(std::type_identity<soft_published<S>>())
           : which == head::sparse         ? of_spec(std::type_identity<sparse_coded<S>>())
                                           : of_spec(std::type_identity<sparse_published<S>>());
  };
  for (const auto& [part, from] :
       {std::pair<std::string, const polymoe::dataset*>{"test", &data.test}, {"train", &data.fit.train}}) {
    if (which == head::sparse && !s.plan) add_noisy(model, s, o, data, *from, part, r);
    const std::vector<float> first =
        which == head::dense
            ? look<dense_classifier<S>>(which, dense_model<S>(z, classes), model, s, o, *from, part, r)
            : look<experts_classifier<S>>(which, experts_model<S>(z, head_of_experts()), model, s, o, *from, part, r);
    if (which != head::dense && !s.plan)
      r.lists[part + ".loss_along_frozen"] =
          frozen_curve(which, model, s, o, data, *from, first, r.lists.at(part + ".alpha"));
  }
}

}  // namespace

void look_at(head which, const trained& model, const settings& s, const options& o, const images& data, result& r) {
  if (o.hessian_images > 0) add_hessians(which, model, s, o, data, r);
  if (o.landscape_images > 0) add_landscape(which, model, s, o, data, r);
}

}  // namespace paper_b
