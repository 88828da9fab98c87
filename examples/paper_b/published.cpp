// The heads as the paper's text has them.
#include "heads.hpp"

namespace paper_b {

layer::config published_head(head which, index features, index classes) {
  if (which == head::soft_published)
    return any_head<soft_published<float>>(experts_config<soft_published<float>>(features, classes));
  auto c = experts_config<sparse_published<float>>(features, classes);
  c.balance.get<balance::importance>().weight = 0.2f;
  c.balance.get<balance::load_shazeer>().weight = 0.2f;
  return any_head<sparse_published<float>>(c);
}

}  // namespace paper_b
