// The smallest user of the library: its headers, a parameter and a context.
#include <cstdio>
#include <polymoe/polymoe.hpp>
#include <vector>

struct scale {
  polymoe::param<float> weight;
  template <class M>
  void visit(polymoe::visitor<M>& v) {
    v.add(weight, "weight", {3, 4}, polymoe::init_rule::constant(1));
  }
};

int main() {
  polymoe::visitor<float> count;
  scale module;
  module.visit(count);
  polymoe::context<polymoe::backend::cpu_with<void>> run;
  const bool ok = count.param_count() == 12 && count.params().front().name == "weight" && run.training();
  std::printf("polymoe %d.%d.%d: %s\n", POLYMOE_VERSION_MAJOR, POLYMOE_VERSION_MINOR, POLYMOE_VERSION_PATCH,
              ok ? "ok" : "wrong");
  return ok ? 0 : 1;
}
