// The arms as the paper's text has them.
#include "run_arm.hpp"

namespace paper_b {

result run_soft_published(const settings& s, const options& o, std::uint64_t seed, const images& data) {
  using Spec = soft_published<float>;
  return run_arm<sparse_classifier<Spec>>("soft_published", model_of<Spec>(o, data), s,
                                          o, seed, data, nullptr);
}
result run_sparse_published(const settings& s, const options& o, std::uint64_t seed, const images& data) {
  using Spec = sparse_published<float>;
  return run_arm<sparse_classifier<Spec>>("sparse_published", model_of<Spec>(o, data),
                                          s, o, seed, data, nullptr);
}

}  // namespace paper_b
