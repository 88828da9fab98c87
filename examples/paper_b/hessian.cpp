// The Hessian of a trained model's mean loss: the same model over dual numbers.
#include <polymoe/analysis/lanczos.hpp>
#include <polymoe/analysis/loss_hessian.hpp>
#include <polymoe/analysis/power_iteration.hpp>
#include <polymoe/analysis/trace.hpp>

#include "batches.hpp"
#include "heads.hpp"
#include "network.hpp"

namespace paper_b {
namespace {

using S = polymoe::dual<float>;

template <class Model>
void look(const typename Model::config& config, const trained& model, const settings& s, const options& o,
          const polymoe::dataset& from, const std::string& part, result& r) {
  const index n = std::min(o.hessian_images, from.size()), batch = std::min<index>(s.batch, n);
  polymoe::workspace<Model> w(Model(config), {.max_rows = batch, .threads = s.threads, .seed = r.seed});
  std::copy(model.values.begin(), model.values.end(), w.values().ptr[0]);
  w.set_state(model.state);
  w.refresh();
  const batches images = first_batches(w.ctx().stream, from, n, batch);
  polymoe::analysis::loss_hessian h(w, images.rows, from.classes());
  std::printf("%s, seed %llu: Hessian over %lld %s images, %lld parameters\n", r.arm.c_str(),
              static_cast<unsigned long long>(r.seed), static_cast<long long>(n / batch * batch), part.c_str(),
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
  std::vector<double> alphas;
  for (int i = -10; i <= 10; ++i) alphas.push_back(0.05 * i);
  r.lists[part + ".alpha"] = alphas;
  r.lists[part + ".loss_along"] = h.loss_along(top.largest.front().vector, alphas);
  std::printf("  largest eigenvalue %.4g (within %.2g; power iteration %.4g), trace %.4g +- %.2g\n", values.front(),
              residuals.front(), power.front().value, trace.mean, trace.standard_error);
}

}  // namespace

void add_hessian(head which, const trained& model, const settings& s, const options& o, const images& data, result& r) {
  const nn::resnet_sizes z = sizes_of(o, data);
  const index classes = data.test.classes();
  const auto with_experts = [&] {
    return which == head::soft ? any_head<soft_coded<S>>(experts_config<soft_coded<S>>(z.features(), classes))
                               : any_head<sparse_coded<S>>(experts_config<sparse_coded<S>>(z.features(), classes));
  };
  for (const auto& [part, from] : {std::pair<const char*, const polymoe::dataset*>{"train", &data.fit.train}, {"test", &data.test}})
    if (which == head::dense) look<dense_classifier<S>>(dense_model<S>(z, classes), model, s, o, *from, part, r);
    else look<experts_classifier<S>>(experts_model<S>(z, with_experts()), model, s, o, *from, part, r);
}

}  // namespace paper_b
