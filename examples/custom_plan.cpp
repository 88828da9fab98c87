// custom_plan: experts without a router.  Masks say who works on what, as those of the objects in an image would: a
// point belongs to any number of masks, and every mask has an expert.  The program writes who is in which slot; the
// library finds the slots of every point, moves rows, multiplies and differentiates.
// ctest: --device auto
// cuda: yes
#include "toy_task.hpp"

#include <polymoe/plan/invert.hpp>
#if defined(__CUDACC__)
#include <polymoe/backend/cuda/dispatch/invert.cuh>
#endif

/// What experts take from a spec.  Its router only says what plans look like: units with any number of experts.
struct by_masks : polymoe::spec {
  using router = polymoe::positive<>;
};

/// Masks as a plan in a backend's memory: the slots of expert e are the points of mask e, in order, with weight 1.
template <class Backend>
class mask_plan {
 public:
  using type = typename polymoe::apply<by_masks, Backend>::Plan;
  using memory = typename Backend::memory;
  using block = polymoe::owned_block<memory>;

  mask_plan(const polymoe::context<Backend>& c, const std::vector<std::vector<int>>& masks, int points) {
    std::vector<int> begin{0}, count, token;
    for (const std::vector<int>& mask : masks) {
      token.insert(token.end(), mask.begin(), mask.end());
      count.push_back(static_cast<int>(mask.size())), begin.push_back(static_cast<int>(token.size()));
    }
    const int slots = begin.back();
    plan_.experts = plan_.all_experts = static_cast<int>(masks.size());
    plan_.tokens = plan_.group_size = points, plan_.groups = 1, plan_.max_slots = slots;
    plan_.begin = bring(c, begin), plan_.count = bring(c, count), plan_.token = bring(c, token);
    plan_.run_begin = bring(c, std::vector<int>(begin.begin(), begin.end() - 1));
    plan_.gate = {bring(c, std::vector<float>(static_cast<std::size_t>(slots), 1.0f)), 1, slots};
    plan_.bad = bring(c, std::vector<unsigned char>(static_cast<std::size_t>(points), 0));
    // For every point the slots it is in, which combine and backward walk.
    int* const lists_begin = bring(c, std::vector<int>(static_cast<std::size_t>(points) + 1));
    int* const lists = bring(c, std::vector<int>(static_cast<std::size_t>(slots)));
    if constexpr (memory::on_host) {
      plan_ = inverted(plan_, lists_begin, lists, slots);
    } else {
      blocks_.push_back(block(invert_workspace_bytes(plan_)));
      plan_ = inverted(c, plan_, lists_begin, lists, blocks_.back().data(), blocks_.back().size());
    }
  }
  const type& get() const { return plan_; }

 private:
  template <class X>
  X* bring(const polymoe::context<Backend>& c, const std::vector<X>& from) {
    blocks_.push_back(block(from.size() * sizeof(X)));
    memory::write(c.stream, blocks_.back().data(), from.data(), from.size() * sizeof(X));
    return static_cast<X*>(blocks_.back().data());
  }

  std::vector<block> blocks_;
  type plan_;
};

/// The experts of masks as a module, whose plan is made once.
template <class Backend>
class masked_experts {
 public:
  using scalar = float;
  using backend = Backend;
  using experts_type = polymoe::apply<by_masks, Backend>;
  struct saved {
    typename experts_type::saved experts;
    polymoe::view<float> d_gate;  ///< [1, slots], that nobody asks for
  };

  masked_experts(polymoe::index experts, polymoe::index slots)
      : slots_(slots), experts_({.dim = toy::dim, .hidden = 16, .out = toy::dim, .experts = experts}) {}
  void follow(const mask_plan<Backend>& plan) { plan_ = plan.get(); }

  template <class V>
  void visit(V& v) {
    experts_.visit(v);
  }
  saved bind(polymoe::binder<Backend>& b, polymoe::index rows) const {
    return {experts_.bind(b, slots_, rows, 1), b.saved.template take<float>(1, slots_)};
  }
  void refresh(polymoe::context<Backend>& c) { experts_.refresh(c); }
  void forward(polymoe::context<Backend>& c, polymoe::view<const float> x, polymoe::view<float> y, saved& s) const {
    experts_.forward(c, x, plan_, y, s.experts);
  }
  void backward(polymoe::context<Backend>& c, polymoe::view<const float> dy, polymoe::view<float> dx, saved& s) const {
    experts_.backward(c, dy, plan_, s.d_gate, {}, dx, s.experts);
  }
  void commit(polymoe::context<Backend>&) const {}

 private:
  polymoe::index slots_;
  experts_type experts_;
  typename experts_type::Plan plan_;
};

/// The loss of every step on the toy task; a mask for every cluster, one of all points and one of every third.
template <class Backend>
std::vector<double> learn_by_masks(int steps) {
  std::vector<std::vector<int>> masks(toy::clusters + 2);
  polymoe::index slots = 0;
  for (int t = 0; t < toy::points; ++t) {
    masks[static_cast<std::size_t>(t % toy::clusters)].push_back(t);
    masks[toy::clusters].push_back(t);
    if (t % 3 == 0) masks[toy::clusters + 1].push_back(t);
  }
  for (const auto& mask : masks) slots += static_cast<polymoe::index>(mask.size());
  using module = masked_experts<Backend>;
  polymoe::workspace<module> w(module(toy::clusters + 2, slots), {.max_rows = toy::points, .seed = 1});
  const mask_plan<Backend> plan(w.ctx(), masks, static_cast<int>(toy::points));
  w.module().follow(plan);
  return toy::train(w, steps, 0.05f);
}

int main(int argc, char** argv) {
  return toy::on_device(argc, argv, [](auto backend) {
    const auto losses = learn_by_masks<decltype(backend)>(400);
    std::printf("loss %.3f -> %.3f in %zu steps\n", losses.front(), losses.back(), losses.size());
    return losses.back() < 0.02 * losses.front() ? 0 : 1;
  });
}
