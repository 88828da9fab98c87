// What bench/layer_bench.cpp times and how: the clock, the data, and the modules that are set beside the layer.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <polymoe/polymoe.hpp>

namespace layer_bench {

using polymoe::aligned_block;
using polymoe::bf16;
using polymoe::compute_t;
using polymoe::cpu;
using polymoe::dual;
using polymoe::index;
using polymoe::master_t;
using polymoe::view;
using polymoe::worker;
namespace maths = polymoe::maths;

struct row_shape {
  index tokens = 0, dim = 0, hidden = 0, experts = 0;
  int k = 0;
};

struct settings {
  int threads = 1;
  double seconds = 0.5;  ///< per case
  int repeats = 3;
  bool parts = true;  ///< false: the layer only
  bool dual = true;
  std::uint64_t seed = 1;
};

// ---- timing ---------------------------------------------------------------------------------------------------------

/// Milliseconds since the last call.
class lap_clock {
 public:
  double operator()() {
    const auto now = clock::now();
    const double ms = std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
    return ms;
  }

 private:
  using clock = std::chrono::steady_clock;
  clock::time_point last_ = clock::now();
};

struct figure {
  double median = 0, least = 0;
  std::size_t count = 0;
};

/// Samples by name.
class samples {
 public:
  void add(const std::string& name, double ms) { ms_[name].push_back(ms); }
  void clear() { ms_.clear(); }
  bool has(const std::string& name) const { return ms_.count(name) > 0; }
  figure of(const std::string& name) const {
    std::vector<double> v = ms_.at(name);
    std::sort(v.begin(), v.end());
    const std::size_t n = v.size();
    return {n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]), v[0], n};
  }
  double operator[](const std::string& name) const { return of(name).median; }
  const std::map<std::string, std::vector<double>>& all() const { return ms_; }

 private:
  std::map<std::string, std::vector<double>> ms_;
};

using timed_case = std::function<void(samples&)>;

/// One run of each case to warm up, then rounds of one run each.
inline void take_turns(const std::vector<timed_case>& cases, const settings& o, samples& out) {
  for (const auto& c : cases) c(out);
  out.clear();
  lap_clock clock;
  double spent = 0;
  const double budget = 1e3 * o.seconds * static_cast<double>(cases.size());
  for (int round = 0; round < o.repeats || (spent < budget && round < 2000); ++round) {
    for (const auto& c : cases) c(out);
    spent += clock();
  }
}

// ---- data -----------------------------------------------------------------------------------------------------------

/// An owned [rows, cols] tensor of standard normal numbers.
template <class T>
struct tensor {
  tensor(index rows, index cols, const char* name, const settings& o, bool random = true)
      : block(static_cast<std::size_t>(rows * cols) * sizeof(polymoe::real_t<T>) * view<T>::planes + 256) {
    polymoe::arena a = block.as_arena();
    v = a.template take<T>(rows, cols);
    if (random) fill(v, name, o);
  }
  static void fill(view<T> v, const char* name, const settings& o) {
    for (int p = 0; p < view<T>::planes; ++p) {
      const auto s = polymoe::random_root{o.seed}.stream(polymoe::stream_id(name), static_cast<std::uint64_t>(p));
      for (index i = 0; i < v.size(); ++i) polymoe::store(v.ptr[p][i], s.normal(static_cast<std::uint64_t>(i)));
    }
  }
  aligned_block block;
  view<T> v;
};

template <class T>
void require_finite(const char* what, view<T> v) {
  for (int p = 0; p < view<T>::planes; ++p)
    for (index i = 0; i < v.size(); ++i)
      polymoe::require(std::isfinite(static_cast<double>(polymoe::value_of(v.ptr[p][i]))), what, ": plane ", p,
                       ", element ", i, " of ", v.size(), " is not finite");
}

// ---- modules that are timed -----------------------------------------------------------------------------------------

/// Any module with its input and gradients, timed as <name>.forward, .backward and .both.
template <class Module>
struct bench_module {
  using T = typename Module::scalar;
  bench_module(Module m, index rows, const settings& o)
      : w(std::move(m), {.max_rows = rows, .threads = o.threads, .seed = o.seed}),
        x(rows, w.module().in_cols(), "x", o),
        dy(rows, w.module().in_cols(), "dy", o),
        y(rows, w.module().in_cols(), "", o, false),
        dx(rows, w.module().in_cols(), "", o, false) {
    if constexpr (polymoe::is_dual<T>) {
      tensor<T> direction(1, w.values().cols, "direction", o);
      std::copy_n(direction.v.ptr[1], w.values().cols, w.values().ptr[1]);
      w.refresh();
    }
  }
  void run(const std::string& name, samples& out) {
    lap_clock lap;
    w.forward(x.v, y.v);
    const double f = lap();
    w.backward(dy.v, dx.v);
    const double b = lap();
    out.add(name + ".forward", f), out.add(name + ".backward", b), out.add(name + ".both", f + b);
  }
  void check(const char* what) {
    require_finite(what, y.v), require_finite(what, dx.v), require_finite(what, w.grads());
  }
  polymoe::workspace<Module> w;
  tensor<T> x, dy, y, dx;
};

template <class T, int K>
struct bench_spec : polymoe::spec {
  using scalar = T;
  using router = polymoe::top_k<K, polymoe::score::softmax>;
  using capacity = polymoe::capacity::unlimited;
  using expert = polymoe::expert::mlp<polymoe::act::gelu_tanh>;
  using combine = polymoe::combine::affinity;
};

/// The experts of a layer by themselves, over the tiles that the layer's own plan gave.
template <class T>
class expert_stage {
 public:
  using scalar = T;
  using backend = cpu;
  using inner = typename polymoe::expert::mlp<polymoe::act::gelu_tanh>::template module<T, cpu>;
  using saved = typename inner::saved;
  expert_stage(const row_shape& r, const polymoe::expert_work* work)
      : inner_({r.experts, r.dim, r.hidden, r.dim}), work_(work) {}
  template <class V>
  void visit(V& v) {
    inner_.visit(v);
  }
  saved bind(polymoe::binder<cpu>& b, index rows) const { return inner_.bind(b, rows); }
  void refresh(polymoe::context<cpu>& c) { inner_.refresh(c); }
  void forward(polymoe::context<cpu>& c, view<const T> x, view<T> y, saved& s) const {
    inner_.forward(c, *work_, x, y, s);
  }
  void backward(polymoe::context<cpu>& c, view<const T> dy, view<T> dx, saved& s) const {
    inner_.backward(c, *work_, dy, dx, s, true);
  }

 private:
  inner inner_;
  const polymoe::expert_work* work_;
};

/// A plain loop over experts with the library's products: every step of one expert over all its rows, then the next
/// expert.  Its linear maps also give the weight-gradient pass alone.
template <class T>
class expert_loop {
 public:
  using scalar = T;
  using backend = cpu;
  using C = compute_t<T>;
  using plan = polymoe::sparse_plan<C>;
  using act = polymoe::act::gelu_tanh;
  struct saved {
    view<T> x, pre, hidden, out, d_out, d_hidden, dx;  ///< slot order
  };
  explicit expert_loop(const row_shape& r)
      : r_(r), fc1_(r.experts, r.dim, r.hidden, true), fc2_(r.experts, r.hidden, r.dim, true) {}
  template <class V>
  void visit(V& v) {
    fc1_.visit(v, "fc1"), fc2_.visit(v, "fc2");
  }
  saved bind(polymoe::binder<cpu>& b, index rows) const {
    b.need_worker(std::max(fc1_.worker_bytes(), fc2_.worker_bytes()));
    saved s;
    for (view<T>* v : {&s.x, &s.out, &s.d_out, &s.dx}) *v = b.saved.template take<T>(rows, r_.dim);
    for (view<T>* v : {&s.pre, &s.hidden, &s.d_hidden}) *v = b.saved.template take<T>(rows, r_.hidden);
    return s;
  }
  void refresh(polymoe::context<cpu>& c) { fc1_.refresh(c.stream), fc2_.refresh(c.stream); }

  void forward(polymoe::context<cpu>& c, const plan& p, view<const T> x, view<T> y, saved& s) const {
    clear(c, y);
    for (int e = 0; e < r_.experts; ++e) {
      const auto step = [&](auto f) { rows_of(c, p, e, f); };
      step([&](index at, index n, worker&) {
        for (index i = at; i < at + n; ++i) std::copy_n(x.row(p.token[i]), x.cols, s.x.row(i));
      });
      step([&](index at, index n, worker& w) { fc1_.forward(w, e, s.x.rows_at(at, n), s.pre.rows_at(at, n)); });
      step([&](index at, index n, worker&) {
        polymoe::detail::activate<T>(s.pre.rows_at(at, n), s.hidden.rows_at(at, n), act{});
      });
      step([&](index at, index n, worker& w) { fc2_.forward(w, e, s.hidden.rows_at(at, n), s.out.rows_at(at, n)); });
      step([&](index at, index n, worker&) {
        for (index i = at; i < at + n; ++i) add_row(p.gate.get(0, i), s.out.row(i), y.row(p.token[i]), y.cols);
      });
    }
  }
  /// dx = ; d_gate += ; gradients of the experts +=.
  void backward(polymoe::context<cpu>& c, const plan& p, const polymoe::expert_work& work, view<const T> dy,
                view<C> d_gate, view<T> dx, saved& s) const {
    clear(c, dx);
    for (int e = 0; e < r_.experts; ++e) {
      const auto step = [&](auto f) { rows_of(c, p, e, f); };
      step([&](index at, index n, worker&) {
        for (index i = at; i < at + n; ++i) {
          const index t = p.token[i];
          const C gate = p.gate.get(0, i);
          polymoe::backend::detail::weighted_rows<T, C>(dy, &t, &gate, 1, s.d_out, i);
          d_gate.add(0, i, polymoe::backend::detail::row_dot<T>(dy, t, s.out, i));
        }
      });
      step([&](index at, index n, worker& w) {
        fc2_.data_gradient(w, e, s.d_out.rows_at(at, n), s.d_hidden.rows_at(at, n));
      });
      step([&](index at, index n, worker&) {
        polymoe::detail::activate_backward<T>(s.d_hidden.rows_at(at, n), s.pre.rows_at(at, n), s.pre.rows_at(at, n),
                                              act{});
      });
      step([&](index at, index n, worker& w) { fc1_.data_gradient(w, e, s.pre.rows_at(at, n), s.dx.rows_at(at, n)); });
      step([&](index at, index n, worker&) {
        for (index i = at; i < at + n; ++i) add_row(C(1), s.dx.row(i), dx.row(p.token[i]), dx.cols);
      });
      const index first = fc1_.tasks() / r_.experts, second = fc2_.tasks() / r_.experts;
      polymoe::parallel_for(
          c.stream, first, [&](index b, worker& w) { fc1_.weight_gradient(w, e * first + b, work, s.pre, s.x, true); });
      polymoe::parallel_for(c.stream, second, [&](index b, worker& w) {
        fc2_.weight_gradient(w, e * second + b, work, s.d_out, s.hidden, true);
      });
    }
  }
  /// The activations of the experts alone, tile by tile as the layer runs them.
  void activations(polymoe::context<cpu>& c, const polymoe::expert_work& work, saved& s) const {
    polymoe::parallel_for(c.stream, work.tile_count, [&](index i, worker&) {
      const polymoe::expert_run& t = work.tiles[i];
      polymoe::detail::activate<T>(s.pre.rows_at(t.y_row, t.rows), s.hidden.rows_at(t.y_row, t.rows), act{});
    });
  }
  void activations_backward(polymoe::context<cpu>& c, const polymoe::expert_work& work, saved& s) const {
    polymoe::parallel_for(c.stream, work.tile_count, [&](index i, worker&) {
      const polymoe::expert_run& t = work.tiles[i];
      const view<T> pre = s.pre.rows_at(t.y_row, t.rows);
      polymoe::detail::activate_backward<T>(s.d_hidden.rows_at(t.y_row, t.rows), pre, pre, act{});
    });
  }
  /// The second half of the experts' backward, as the layer runs it.
  void weight_gradients(polymoe::context<cpu>& c, const polymoe::expert_work& work, saved& s) const {
    const index first = fc1_.tasks();
    polymoe::parallel_for(c.stream, first + fc2_.tasks(), [&](index task, worker& w) {
      if (task < first)
        fc1_.weight_gradient(w, task, work, s.pre, s.x, true);
      else
        fc2_.weight_gradient(w, task - first, work, s.d_out, s.hidden, true);
    });
  }

 private:
  template <class F>
  static void rows_of(polymoe::context<cpu>& c, const plan& p, int e, F f) {
    const index begin = p.begin[e];
    polymoe::parallel_rows(c.stream, p.begin[e + 1] - begin, 256,
                           [&](index at, index n, worker& w) { f(begin + at, n, w); });
  }
  static void clear(polymoe::context<cpu>& c, view<T> v) {
    polymoe::parallel_rows(c.stream, v.rows, 256, [&](index at, index n, worker&) {
      std::fill_n(v.row(at), n * v.cols, static_cast<T>(0.0f));
    });
  }
  static void add_row(C gate, const T* from, T* to, index n) {
    POLYMOE_SIMD
    for (index j = 0; j < n; ++j) polymoe::store(to[j], static_cast<C>(to[j]) + gate * static_cast<C>(from[j]));
  }

  row_shape r_;
  polymoe::expert_linear<T, maths::automatic> fc1_, fc2_;
};

/// The products of each pass and nothing else, on the buffers of an expert_loop.
template <class T>
class ceiling {
 public:
  using M = master_t<T>;
  ceiling(const row_shape& r, const settings& o)
      : r_(r),
        up_(r.dim, r.hidden),
        down_(r.hidden, r.dim),
        outer_up_(r.hidden, r.dim),
        outer_down_(r.dim, r.hidden),
        grad_(2 * r.experts, r.dim * r.hidden, "", o, false) {
    up_bytes_ = rounded(up_.packed_bytes()), down_bytes_ = rounded(down_.packed_bytes());
    const auto e = static_cast<std::size_t>(r.experts);
    packed_ = aligned_block(2 * e * (up_bytes_ + down_bytes_));
    const std::size_t each = rounded(
        std::max({up_.worker_bytes(), down_.worker_bytes(), outer_up_.worker_bytes(), outer_down_.worker_bytes()}));
    scratch_ = aligned_block(each * static_cast<std::size_t>(o.threads));
    stream_.threads = o.threads, stream_.worker_bytes = each;
    stream_.worker_scratch = static_cast<std::byte*>(scratch_.data());
    std::fill_n(grad_.v.ptr[0], grad_.v.size(), M(0));
    const tensor<M> weight(r.dim, r.hidden, "ceiling weight", o);
    worker w = stream_.at(0);
    for (index i = 0; i < 2 * r.experts; ++i) {
      up_.pack(weight.v.ptr[0], r.hidden, false, up(i), w);
      down_.pack(weight.v.ptr[0], r.dim, false, down(i), w);
    }
  }
  using buffers = typename expert_loop<T>::saved;
  void forward(const polymoe::expert_work& work, buffers& s) {
    over_tiles(work, [&](const polymoe::expert_run& t, worker& w) {
      up_.run(w, s.x.row(t.y_row), r_.dim, t.rows, up(t.expert), nullptr, s.pre.row(t.y_row), r_.hidden);
      down_.run(w, s.hidden.row(t.y_row), r_.hidden, t.rows, down(t.expert), nullptr, s.out.row(t.y_row), r_.dim);
    });
  }
  void data_gradient(const polymoe::expert_work& work, buffers& s) {
    over_tiles(work, [&](const polymoe::expert_run& t, worker& w) {
      const index e = t.expert + r_.experts;
      up_.run(w, s.d_out.row(t.y_row), r_.dim, t.rows, up(e), nullptr, s.d_hidden.row(t.y_row), r_.hidden);
      down_.run(w, s.pre.row(t.y_row), r_.hidden, t.rows, down(e), nullptr, s.dx.row(t.y_row), r_.dim);
    });
  }
  void weight_gradient(const polymoe::expert_work& work, buffers& s) {
    const index first = r_.experts * outer_up_.blocks(), all = first + r_.experts * outer_down_.blocks();
    polymoe::parallel_for(stream_, all, [&](index task, worker& w) {
      const bool is_up = task < first;
      const index blocks = is_up ? outer_up_.blocks() : outer_down_.blocks(), i = is_up ? task : task - first;
      const index e = i / blocks;
      M* g = grad_.v.row(is_up ? e : e + r_.experts);
      for (int run = work.first_run[e]; run < work.first_run[e + 1]; ++run) {
        const index at = work.runs[run].y_row, n = work.runs[run].rows;
        if (is_up)
          outer_up_.run(w, i % blocks, s.pre.row(at), r_.hidden, s.x.row(at), r_.dim, n, g, r_.dim);
        else
          outer_down_.run(w, i % blocks, s.d_out.row(at), r_.dim, s.hidden.row(at), r_.hidden, n, g, r_.hidden);
      }
    });
  }

 private:
  static std::size_t rounded(std::size_t n) {
    return static_cast<std::size_t>(polymoe::round_up(static_cast<index>(n), 64));
  }
  std::byte* up(index i) const {
    return static_cast<std::byte*>(packed_.data()) + static_cast<std::size_t>(i) * up_bytes_;
  }
  std::byte* down(index i) const {
    return static_cast<std::byte*>(packed_.data()) + static_cast<std::size_t>(2 * r_.experts) * up_bytes_ +
           static_cast<std::size_t>(i) * down_bytes_;
  }
  template <class F>
  void over_tiles(const polymoe::expert_work& work, F f) {
    polymoe::parallel_for(stream_, work.tile_count, [&](index i, worker& w) { f(work.tiles[i], w); });
  }

  row_shape r_;
  maths::product<T> up_, down_;
  maths::outer_product<T> outer_up_, outer_down_;
  tensor<M> grad_;
  std::size_t up_bytes_ = 0, down_bytes_ = 0;
  aligned_block packed_, scratch_;
  cpu::stream stream_;
};

}  // namespace layer_bench
