// The arms as the paper's code has them.
#include "run_arm.hpp"

namespace paper_b {

result run_dense(const settings& s, const options& o, std::uint64_t seed, const images& data) {
  const head h = head::dense;
  return run_arm<classifier<dense_head<float>>>("dense", dense_model<float>(sizes_of(o, data), data.test.classes()), s, o,
                                                seed, data, &h);
}
result run_soft_coded(const settings& s, const options& o, std::uint64_t seed, const images& data) {
  using Spec = soft_coded<float>;
  const head h = head::soft;
  return run_arm<sparse_classifier<Spec>>("soft", model_of<Spec>(o, data), s, o, seed,
                                          data, &h);
}
result run_sparse_coded(const settings& s, const options& o, std::uint64_t seed, const images& data) {
  using Spec = sparse_coded<float>;
  const head h = head::sparse;
  return run_arm<sparse_classifier<Spec>>("sparse", model_of<Spec>(o, data), s, o,
                                          seed, data, &h);
}

}  // namespace paper_b
