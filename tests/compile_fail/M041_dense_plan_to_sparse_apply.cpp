// expect: M041
// The dense form of a plan in the place of the plan.
#include <polymoe/plan/expand.hpp>
#include <polymoe/polymoe.hpp>

struct bad : polymoe::spec {};
using experts = polymoe::apply<bad, polymoe::cpu>;
void serve(const experts& e, polymoe::context<polymoe::cpu>& c, polymoe::view<const float> x,
           const polymoe::sparse_plan<float>& plan, polymoe::view<float> y, experts::saved& s) {
  e.forward(c, x, polymoe::expand(plan), y, s);
}
