// Convolution layers of the CPU backend beside plain oneDNN: one call of the library for the whole batch, with the
// library's own threads.  Prints milliseconds and ratios; bench/peers/conv_torch.py adds PyTorch.
//
//   conv_bench [threads] [seconds per figure]
//
// Forward, and backward as training needs it (gradient of the input, of the weight and of the bias).  Ours and the
// library's calls take turns; each figure is the median.  One line per shape and number type:
//   <shape> <type> <forward ms> <backward ms> <oneDNN forward ms> <oneDNN backward ms> <ratios ours / oneDNN>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <unordered_map>

#include <polymoe/core/workspace.hpp>
#include <polymoe/nn/conv2d.hpp>

namespace {

using polymoe::bf16;
using polymoe::index;

struct shape {
  const char* name;
  index images, in, out, size, kernel, stride;
  bool depthwise;
};
constexpr shape shapes[] = {
    {"stem-3-32-32x32", 128, 3, 32, 32, 3, 1, false},       {"conv-64-64-16x16", 128, 64, 64, 16, 3, 1, false},
    {"down-64-128-16x16", 128, 64, 128, 16, 3, 2, false},   {"conv-128-128-8x8", 128, 128, 128, 8, 3, 1, false},
    {"conv-256-256-4x4", 128, 256, 256, 4, 3, 1, false},    {"pointwise-128-512-8x8", 128, 128, 512, 8, 1, 1, false},
    {"depthwise-128-16x16", 128, 128, 128, 16, 3, 1, true}, {"depthwise7-128-16x16", 128, 128, 128, 16, 7, 1, true},
};

/// Median milliseconds of each function; they take turns for about `seconds` each.
std::vector<double> medians(const std::vector<std::function<void()>>& calls, double seconds) {
  std::vector<std::vector<double>> times(calls.size());
  for (const auto& f : calls) f(), f();
  double spent = 0;
  while (spent < seconds * static_cast<double>(calls.size()) || times[0].size() < 5)
    for (std::size_t i = 0; i < calls.size(); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      calls[i]();
      const double t = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
      times[i].push_back(t * 1e3), spent += t;
    }
  std::vector<double> result;
  for (auto& t : times) {
    std::nth_element(t.begin(), t.begin() + static_cast<std::ptrdiff_t>(t.size() / 2), t.end());
    result.push_back(t[t.size() / 2]);
  }
  return result;
}

#if defined(POLYMOE_WITH_ONEDNN)
/// The library alone: activations channels last, weights in the format it asks for.
template <class R>
class library {
  using memory = dnnl::memory;
  using arguments = std::unordered_map<int, memory>;

 public:
  library(const shape& s, index outputs, int threads) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
#if defined(_OPENMP)
    omp_set_num_threads(threads);
#else
    static_cast<void>(threads);
#endif
    const auto type = polymoe::maths::detail::dnnl_type<R>;
    const auto any = memory::format_tag::any, rows = memory::format_tag::nhwc;
    const auto how = dnnl::algorithm::convolution_direct;
    const memory::dims wd =
        s.depthwise ? memory::dims{s.in, 1, 1, s.kernel, s.kernel} : memory::dims{s.out, s.in, s.kernel, s.kernel};
    const memory::desc x({s.images, s.in, s.size, s.size}, type, rows),
        y({s.images, s.out, outputs, outputs}, type, rows);
    const memory::desc w(wd, type, any), g(wd, memory::data_type::f32, any);
    const memory::desc b({s.out}, memory::data_type::f32, memory::format_tag::a);
    const memory::dims stride{s.stride, s.stride}, around{s.kernel / 2, s.kernel / 2};
    const dnnl::convolution_forward::primitive_desc f(
        {dnnl::prop_kind::forward_training, how, x, w, b, y, stride, around, around}, engine_);
    const dnnl::convolution_backward_data::primitive_desc d({how, x, w, y, stride, around, around}, engine_, f);
    const dnnl::convolution_backward_weights::primitive_desc v({how, x, g, b, y, stride, around, around}, engine_, f);
    forward_ = dnnl::convolution_forward(f), data_ = dnnl::convolution_backward_data(d);
    weights_ = dnnl::convolution_backward_weights(v);
    const auto make = [&](const memory::desc& m) {
      memory a(m, engine_);
      std::fill_n(static_cast<R*>(a.get_data_handle()), m.get_size() / sizeof(R), static_cast<R>(0.5f));
      return a;
    };
    const memory mx = make(x), my = make(y), mb = make(b);
    forward_args_ = {
        {DNNL_ARG_SRC, mx}, {DNNL_ARG_WEIGHTS, make(f.weights_desc())}, {DNNL_ARG_BIAS, mb}, {DNNL_ARG_DST, my}};
    data_args_ = {{DNNL_ARG_DIFF_DST, my}, {DNNL_ARG_WEIGHTS, make(d.weights_desc())}, {DNNL_ARG_DIFF_SRC, make(x)}};
    weight_args_ = {{DNNL_ARG_SRC, mx},
                    {DNNL_ARG_DIFF_DST, my},
                    {DNNL_ARG_DIFF_WEIGHTS, make(v.diff_weights_desc())},
                    {DNNL_ARG_DIFF_BIAS, mb}};
  }
  void forward() { forward_.execute(stream_, forward_args_), stream_.wait(); }
  void backward() {
    data_.execute(stream_, data_args_), weights_.execute(stream_, weight_args_);
    stream_.wait();
  }

 private:
  dnnl::engine engine_;
  dnnl::stream stream_;
  dnnl::primitive forward_, data_, weights_;
  arguments forward_args_, data_args_, weight_args_;
};
#endif

template <class T>
void row(const shape& s, const char* type, int threads, double seconds) {
  using conv = polymoe::nn::conv2d<T>;
  const typename conv::config c{s.in, s.out, s.size, s.size, s.kernel, s.stride, s.kernel / 2, true, s.depthwise};
  const index rows = s.images * s.size * s.size, out = conv::out_rows(c, rows);
  polymoe::workspace<conv> w(conv(c), {.max_rows = rows, .threads = threads, .seed = 1});
  std::vector<T> x(static_cast<std::size_t>(rows * s.in), static_cast<T>(static_cast<polymoe::master_t<T>>(0.5)));
  std::vector<T> y(static_cast<std::size_t>(out * s.out)), dy(y.size(), x[0]), dx(x.size());
  std::vector<std::function<void()>> calls = {[&] {
                                                w.forward({x.data(), rows, s.in}, {y.data(), out, s.out});
                                              },
                                              [&] {
                                                w.backward({dy.data(), out, s.out}, {dx.data(), rows, s.in});
                                              }};
#if defined(POLYMOE_WITH_ONEDNN)
  if constexpr (!std::is_same_v<T, double>) {
    library<T> plain(s, c.out_height(), threads);
    calls.push_back([&] { plain.forward(); }), calls.push_back([&] { plain.backward(); });
    const std::vector<double> t = medians(calls, seconds);
    std::printf("%-22s %-5s %9.3f %9.3f %9.3f %9.3f   %.2f %.2f\n", s.name, type, t[0], t[1], t[2], t[3], t[0] / t[2],
                t[1] / t[3]);
    return;
  }
#endif
  const std::vector<double> t = medians(calls, seconds);
  std::printf("%-22s %-5s %9.3f %9.3f %9s %9s   - -\n", s.name, type, t[0], t[1], "-", "-");
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 1;
  const double seconds = argc > 2 ? std::atof(argv[2]) : 0.3;
  if (threads < 1 || !(seconds > 0)) {
    std::fprintf(stderr, "conv_bench [threads] [seconds per figure]\n");
    return 1;
  }
  std::printf(
      "# 128 images, %d threads, products on %s; ms of ours, of plain oneDNN, ours / oneDNN (below 1: ours is "
      "faster)\n",
      threads, polymoe::maths::isa_name().c_str());
  std::printf("# %-20s %-5s %9s %9s %9s %9s   %s\n", "shape", "type", "forward", "backward", "library", "library",
              "ratios");
  for (const shape& s : shapes) {
    row<float>(s, "f32", threads, seconds);
    if (polymoe::maths::bf16_is_fast()) row<bf16>(s, "bf16", threads, seconds);
  }
  return 0;
}
