// The body of examine.hpp, compiled once; and whether it finds what it is there for.
#include "examine.hpp"

namespace matrix {
namespace {

/// One expert alone: a mixture of one, whose score is 1.
template <class Expert>
struct alone : spec {
  using scalar = double;
  using unit = polymoe::unit::image<polymoe::unit::mean>;
  using router = polymoe::mixture<polymoe::score::one>;
  using expert = Expert;
};

/// An expert of the composition, run on one unit.
class lone_expert {
 public:
  virtual ~lone_expert() = default;
  virtual std::vector<double> run(const named& parameters, int expert, const std::vector<double>& unit) = 0;
};
template <class Expert>
class lone_expert_of final : public lone_expert {
 public:
  using Layer = polymoe::layer<alone<Expert>, polymoe::cpu>;
  explicit lone_expert_of(const composition_facts& f) : w_(Layer(config(f)), {.max_rows = f.unit_rows}) {}
  std::vector<double> run(const named& parameters, int expert, const std::vector<double>& unit) override {
    for (const auto& e : w_.entries()) {
      if (e.name.rfind("experts.0.", 0) != 0) continue;
      const auto& from = parameters.at("experts." + std::to_string(expert) + e.name.substr(9));
      std::copy(from.begin(), from.end(), w_.values().ptr[0] + e.offset);
    }
    w_.refresh();
    const index rows = w_.module().settings().unit_rows;
    tensor<double> x(rows, w_.module().in_cols()), y(rows, w_.module().out_cols());
    x.plane[0] = unit;
    w_.forward(x.get(), y.get());
    return y.plane[0];
  }

 private:
  static typename Layer::config config(const composition_facts& f) {
    typename Layer::config c;
    c.dim = f.dim, c.hidden = f.hidden, c.experts = 1, c.unit_rows = f.unit_rows;
    if (Expert::head_of_classes) c.classes = f.out;
    return c;
  }
  polymoe::workspace<Layer> w_;
};

std::unique_ptr<lone_expert> lone_expert_for(const composition_facts& f) {
  switch (f.expert) {
#define MATRIX_CASE(A, id, where, ...)                                                                                \
  case A##_values::id:                                                                                                \
    if constexpr (where.tests) return std::make_unique<lone_expert_of<value<dimension::A, A##_values::id>::type>>(f); \
    break;
    MATRIX_EXPERTS(MATRIX_CASE, expert)
#undef MATRIX_CASE
  }
  FAIL("no expert " << f.expert);
  return nullptr;
}

/// sum over slots of combine * expert(sum over units of dispatch * x), and what overflowed to the unit itself.
std::vector<double> dense_expansion(subject& s, const spelled_plan& p) {
  const composition_facts& f = s.facts;
  const auto expert = lone_expert_for(f);
  const named parameters = s.parameters();
  const std::vector<double> x = s.x();
  const auto rows = static_cast<std::size_t>(f.unit_rows), in = rows * static_cast<std::size_t>(f.dim),
             out = rows * static_cast<std::size_t>(f.out);
  std::vector<double> y(static_cast<std::size_t>(p.tokens) * out, 0.0);
  const auto at = [&](const std::vector<double>& m, int t, index slot) {
    return m[static_cast<std::size_t>(t * p.slots + slot)];
  };
  for (int first = 0; first < p.tokens; first += p.group_size) {
    const int end = std::min(p.tokens, first + p.group_size);
    for (index slot = 0; slot < p.slots; ++slot) {
      std::vector<double> unit(in, 0.0);
      bool used = false;
      for (int t = first; t < end; ++t) {
        used = used || at(p.combine, t, slot) != 0;
        for (std::size_t i = 0; i < in; ++i)
          unit[i] += at(p.dispatch, t, slot) * x[static_cast<std::size_t>(t) * in + i];
      }
      if (!used) continue;
      const auto o = expert->run(parameters, static_cast<int>(slot) / p.capacity, unit);
      for (int t = first; t < end; ++t)
        for (std::size_t i = 0; i < out; ++i) y[static_cast<std::size_t>(t) * out + i] += at(p.combine, t, slot) * o[i];
    }
  }
  for (std::size_t t = 0; t < p.skip.size(); ++t)
    for (std::size_t i = 0; i < in; ++i) y[t * out + i] += p.skip[t] * x[t * in + i];
  return y;
}

/// A double composition as check_gradients wants it.
struct gradient_case {
  struct work {
    subject_in_double& s;
    void refresh() { s.refresh(); }
    const std::vector<polymoe::param_entry>& entries() { return s.entries(); }
    view<double> values() { return s.values(); }
    view<double> grads() { return s.grads(); }
  };
  subject_in_double& s;
  work w{s};
  tensor<double>& x = s.input();
  const tensor<double>& dx = s.input_gradient();

  void forward() { s.forward(); }
  void backward() { s.backward(); }
  double objective() { return s.objective(); }
  const polymoe::sparse_plan<double>& plan() { return s.decided(); }
};

struct findings {
  double output = 0;  ///< norm over norm
  bool binds = false;
  moe_test::gradient_report gradients;
};
findings look_at(subject& s, subject_in_double* gradients) {
  findings f;
  s.run();
  const spelled_plan p = s.plan();
  CHECK(p.violation == "");
  f.output = moe_test::norm_ratio(s.y(), dense_expansion(s, p));
  const polymoe::routing_stats& m = s.stats();
  f.binds = s.facts.picked ? m.placed < m.units * m.experts : m.placed - m.moved < m.choices;
  if (gradients) {
    gradient_case c{*gradients};
    // A step at which curved losses (a KL of few scores) and plans that end near ties still
    // are what they are at the point.
    f.gradients = moe_test::check_gradients(c, "", 1e-6, 24);
  }
  return f;
}

}  // namespace

void examine(subject& s, subject_in_double* gradients) {
  CAPTURE(s.facts.name);
  const findings f = look_at(s, gradients);
  CHECK(f.output < s.facts.tolerance);
  if (s.facts.binds) CHECK(f.binds);
  if (!gradients) return;
  CHECK(f.gradients.worst < 1e-6);
  CHECK(f.gradients.checked > 50);
  CHECK(f.gradients.flipped < f.gradients.checked / 10);
}

namespace {

/// A layer with a fault: one output, or one gradient, is off by a little.
template <class Spec>
class faulty final : public detail::double_subject<Spec> {
  using detail::double_subject<Spec>::c;

 public:
  double output = 0, input_fault = 0, parameter = 0;
  void run() override { forward(); }
  void forward() override {
    c.forward();
    c.y.plane[0][3] += output;
  }
  void backward() override {
    c.backward();
    c.dx.plane[0][5] += input_fault;
    c.w.grads().ptr[0][c.w.entries()[1].offset] += parameter;
  }
};

}  // namespace

TEST_CASE("the body for compositions sees a wrong output, a wrong input gradient and a wrong parameter gradient") {
  using sound = composed<router_values::top_2, capacity_values::drop, priority_values::gate, unit_values::image_mean,
                         expert_values::mlp, combine_values::over_kept, balance_values::of_scores, scalar_values::f64,
                         save_values::input>;
  const auto find = [](double output, double input, double parameter) {
    faulty<sound> s;
    s.output = output, s.input_fault = input, s.parameter = parameter;
    return look_at(s, &s);
  };
  const findings good = find(0, 0, 0);
  CHECK(good.output < 1e-12);
  CHECK(good.gradients.worst < 1e-6);
  CHECK(good.binds);
  CHECK(find(1e-9, 0, 0).output > 1e-12);
  CHECK(find(0, 1e-4, 0).gradients.worst > 1e-6);
  CHECK(find(0, 0, 1e-4).gradients.worst > 1e-6);
}

}  // namespace matrix
