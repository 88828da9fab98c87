// The body of cuda_examine.hpp, compiled once; and whether it finds what it is there for.
// timeout: 300
// with: cuda
#include "cuda_examine.hpp"

namespace matrix {
namespace {

using polymoe::executor_test::distance;
using polymoe::executor_test::not_finite;

/// What differs from the reference, norm over norm.
struct cuda_findings {
  bool same_plan = false, same_counts = false, same_bits = false, binds = false;
  std::string violation;
  double weights = 0, means = 0, loss = 0, state = 0, y = 0, dx = 0;
  double gradient = 0;  ///< of the tensor that is furthest off
  std::string tensor;   ///< its name
  int too_close = 0;    ///< inputs that rounding might decide
};

/// Numbers below it are compared as if they were it: what cancels to rounding has no relative error.
constexpr double least = 0.1;

/// Gives the reference parameters that the layer's type has, and draws inputs that it decides beyond rounding.  The
/// number of those before them that it does not.
int draw_inputs(on_cpu& reference, const on_cuda& d) {
  subject_in_double& s = reference.layer();
  for (index i = 0; i < s.values().cols; ++i) s.values().ptr[0][i] = d.rounded(s.values().ptr[0][i]);
  s.refresh();
  const std::vector<float> state(reference.state().begin(), reference.state().end());
  const auto draw = [&](tensor<double>& t, std::uint64_t seed) {
    t.randomise(seed);
    for (double& x : t.plane[0]) x = d.rounded(x);
  };
  for (int tries = 0; tries < 20; ++tries) {
    draw(s.input(), static_cast<std::uint64_t>(1000 + tries));
    const std::vector<double> x = s.input().plane[0];
    s.forward();
    const std::vector<int> before = moe_test::decisions(s.decided());
    bool same = true;
    for (std::uint64_t i = 0; i < 4 && same; ++i) {
      for (std::size_t j = 0; j < x.size(); ++j)
        s.input().plane[0][j] = x[j] * (1 + d.bounds().apart * moe_test::noise(70 + i, j));
      s.forward();
      same = moe_test::decisions(s.decided()) == before;
    }
    s.input().plane[0] = x;
    std::copy(state.begin(), state.end(), reference.state().begin());
    if (!same) continue;
    draw(reference.output_gradient(), 2000);
    return tries;
  }
  FAIL("20 inputs were too close to call");
  return 20;
}

/// The reference's own step; what both start from is left in `g`.
outcome run_reference(on_cpu& reference, const on_cuda& d, given& g) {
  subject_in_double& s = reference.layer();
  for (index i = 0; i < s.values().cols; ++i) {
    s.grads().ptr[0][i] = d.rounded(0.25 * moe_test::noise(80, static_cast<std::uint64_t>(i)));
    g.values.push_back(s.values().ptr[0][i]), g.grads.push_back(s.grads().ptr[0][i]);
  }
  outcome o;
  g.rows = s.input().rows, g.in = s.input().cols, g.out = reference.output().cols;
  g.x = s.input().plane[0], g.dy = reference.output_gradient().plane[0];
  g.state.assign(reference.state().begin(), reference.state().end());
  g.step = reference.step();
  s.forward();
  reference.read(o);
  reference.backward_onto();
  reference.commit();
  o.y = reference.output().plane[0], o.dx = s.input_gradient().plane[0];
  o.grads.assign(s.grads().ptr[0], s.grads().ptr[0] + s.grads().cols);
  o.state.assign(reference.state().begin(), reference.state().end());
  return o;
}

outcome run_in_order(on_cuda& d, const given& g, const outcome& reference, [[maybe_unused]] std::uint64_t order) {
#if !defined(__CUDACC__)
  polymoe::executor::settings blocks;
  blocks.seed = order;
  const polymoe::executor::scope with(blocks);
#endif
  return d.run(g, reference);
}

cuda_findings look_at_cuda(on_cpu& reference, on_cuda& d) {
  cuda_findings f;
  f.too_close = draw_inputs(reference, d);
  given g;
  const outcome want = run_reference(reference, d, g), got = run_in_order(d, g, want, 1);
  const auto placed = [&](std::size_t i) { return want.counts[i]; };  // as read_stats has them
  f.binds = reference.known().picked ? placed(3) < placed(1) * placed(0) : placed(3) - placed(4) < placed(2);
  f.violation = got.violation;
  f.same_plan = got.decided == want.decided;
  if (!f.same_plan) return f;
  f.same_counts = got.counts == want.counts;
  f.weights = std::max(distance(got.gate, want.gate, not_finite::wrong, least),
                       distance(got.skip, want.skip, not_finite::wrong, least));
  f.means = distance(got.means, want.means, not_finite::wrong, least);
  f.loss = distance(std::vector<double>{got.loss}, std::vector<double>{want.loss}, not_finite::wrong, least);
  f.state = distance(got.state, want.state, not_finite::wrong, least);
  f.y = distance(got.y, want.y, not_finite::wrong, least);
  f.dx = distance(got.dx, want.dx, not_finite::wrong, least);
  for (const auto& e : reference.layer().entries()) {
    const auto part = [&](const std::vector<double>& v) {
      return std::vector<double>(v.begin() + e.offset, v.begin() + e.offset + e.size);
    };
    const double off = distance(part(got.grads), part(want.grads), not_finite::wrong, least);
    if (!(off <= f.gradient)) f.gradient = off, f.tensor = e.name;
  }
  f.same_bits = run_in_order(d, g, want, 7) == got;
  return f;
}

}  // namespace

void examine_on_cuda(on_cpu& reference, on_cuda& d) {
  const cuda_findings f = look_at_cuda(reference, d);
  const precision most = d.bounds();
  CAPTURE(f.too_close);
  CHECK(f.violation == "");
  CHECK(f.same_plan);
  if (!f.same_plan) return;
  CHECK(f.same_counts);
  if (reference.known().binds) CHECK(f.binds);
  CHECK(f.weights <= most.weights);
  CHECK(f.means <= most.routing);
  CHECK(f.loss <= most.routing);
  CHECK(f.state <= std::max(most.routing, 1e-6));  // floats on both sides
  CHECK(f.y <= most.output);
  CHECK(f.dx <= most.gradient);
  CHECK_MESSAGE(f.gradient <= most.gradient, f.tensor);
  CHECK(f.same_bits);
}

namespace {

using sound_on_cuda = composed<router_values::top_2, capacity_values::drop, priority_values::gate,
                               unit_values::image_mean, expert_values::mlp, combine_values::over_kept,
                               balance_values::of_scores, scalar_values::f64, save_values::input>;

/// A layer with a fault in what it leaves behind.
class faulty_on_cuda final : public on_cuda {
 public:
  faulty_on_cuda(on_cuda& sound, void (*fault)(outcome&, int run)) : sound_(sound), fault_(fault) {}
  precision bounds() const override { return sound_.bounds(); }
  double rounded(double x) const override { return sound_.rounded(x); }
  outcome run(const given& g, const outcome& reference) override {
    outcome o = sound_.run(g, reference);
    fault_(o, runs_++);
    return o;
  }

 private:
  on_cuda& sound_;
  void (*fault_)(outcome&, int run);
  int runs_ = 0;
};

}  // namespace

TEST_CASE("the body for compositions on CUDA sees a wrong plan, weight, output, gradient, and other bits") {
  detail::composition_on_cpu<sound_on_cuda> reference;
  auto sound = reference.on_other_backend();
  const auto find = [&](void (*fault)(outcome&, int)) {
    faulty_on_cuda d(sound, fault);
    return look_at_cuda(reference, d);
  };
  const cuda_findings good = find([](outcome&, int) {});
  const precision most = sound.bounds();
  CHECK((good.same_plan && good.same_counts && good.same_bits));
  CHECK(good.weights <= most.weights);
  CHECK(std::max(good.means, good.loss) <= most.routing);
  CHECK(std::max(good.dx, good.gradient) <= most.gradient);
  CHECK(good.y <= most.output);
  CHECK(!find([](outcome& o, int) { o.decided.back() ^= 1; }).same_plan);
  CHECK(!find([](outcome& o, int) { ++o.counts[3]; }).same_counts);
  CHECK(find([](outcome& o, int) { o.gate[0] += 1e-9; }).weights > most.weights);
  CHECK(find([](outcome& o, int) { o.loss += 1e-6; }).loss > most.routing);
  CHECK(find([](outcome& o, int) { o.y[3] += 1e-9; }).y > most.output);
  CHECK(find([](outcome& o, int) { o.dx[5] += 1e-8; }).dx > most.gradient);
  CHECK(find([](outcome& o, int) { o.grads.front() += 1e-8; }).gradient > most.gradient);
  CHECK(!find([](outcome& o, int run) { o.y[2] *= run ? 1 + 0x1p-52 : 1; }).same_bits);
}

}  // namespace matrix
