// Convolutions through oneDNN (f32, bf16) on one thread, with every primitive prepared in the constructor.
//
// - Activations are channels last.  Weights are in the format oneDNN asks for one image; a step of more images is used
//   only where it asks for the same formats, so one packed copy serves all.
// - Gradients of weights stay in oneDNN's format while images are summed, and are brought to PyTorch's once.
// - Memory objects only carry addresses (see maths_onednn.hpp), so oneDNN clears no padding: packed weights are cleared
//   before they are written, and the padding of gradients is never read.
// - A CPU without bf16 instructions, or a shape oneDNN has no compiled kernel for: the plain loops take over.
#pragma once

#include <string_view>
#include <vector>

#include "maths_conv_plain.hpp"
#include "maths_onednn.hpp"

namespace polymoe::inline v0::maths::detail {

/// Runs primitives with any arguments on the calling thread.
class argument_executor {
 public:
  struct argument {
    int name;
    const void* address;
  };
  static argument_executor& mine() {
    thread_local argument_executor e;
    return e;
  }
  void run(const dnnl::primitive& p, const argument* arguments, std::size_t n) {
    const one_thread guard;
    for (std::size_t i = 0; i < n; ++i) {
      args_[i] = {arguments[i].name, memory_[i].get()};
      check(dnnl_memory_set_data_handle(memory_[i].get(), const_cast<void*>(arguments[i].address)));
    }
    check(dnnl_primitive_execute(p.get(), stream_.get(), static_cast<int>(n), args_.data()));
  }

 private:
  argument_executor() : stream_(cpu_engine()) {
    const dnnl::memory::desc one_byte({1}, dnnl::memory::data_type::u8, dnnl::memory::format_tag::a);
    for (dnnl::memory& m : memory_) m = dnnl::memory(one_byte, cpu_engine(), nullptr);
  }
  static void check(dnnl_status_t s) {
    if (s != dnnl_success) polymoe::detail::fail("oneDNN could not run a convolution, status ", static_cast<int>(s));
  }
  dnnl::stream stream_;
  std::array<dnnl::memory, 5> memory_;
  std::array<dnnl_exec_arg_t, 5> args_{};
};

/// convolution (maths_conv.hpp).
template <class R>
class onednn_convolution {
  using memory = dnnl::memory;
  using arg = argument_executor::argument;

 public:
  onednn_convolution() = default;
  explicit onednn_convolution(const convolution_shape& s) : s_(s) {
    const one_thread guard;
    bool fits = std::is_same_v<R, float> || dnnl_has_bf16();
    try {
      for (index images = 1; fits && images <= s.most_images(); images *= 4) fits = add_step(images) || images > 1;
      if (fits) make_reorders();
    } catch (const dnnl::error&) {
      fits = false;
    }
    if (!fits) {
      steps_.clear();
      plain_ = plain_convolution<R, builtin>(s);
    } else if (!own_gradient_) {
      channels_ = depthwise_convolution<R>(s);
    }
    no_bias_.assign(static_cast<std::size_t>(s.out), 0.0f);
  }
  std::size_t packed_bytes() const {
    return steps_.empty() ? plain_.packed_bytes() : forward_bytes() + back_.get_size();
  }
  std::size_t worker_bytes() const {
    if (steps_.empty()) return plain_.worker_bytes();
    pieces p(nullptr);
    p.take<std::byte>(static_cast<index>(scratch_));
    p.take<float>(gradient_size());
    return p.bytes();
  }
  index gradient_size() const {
    if (steps_.empty() || !own_gradient_) return s_.weights();
    return static_cast<index>(gradient_.get_size() / sizeof(float));
  }
  void pack(const float* w, void* packed, worker& who, int part) const {
    if (steps_.empty()) return plain_.pack(w, packed, who, part);
    std::byte* to = static_cast<std::byte*>(packed) + (part == 0 ? 0 : forward_bytes());
    std::memset(to, 0, part == 0 ? forward_.get_size() : back_.get_size());
    run(part == 0 ? pack_forward_ : pack_back_, who, {{DNNL_ARG_FROM, w}, {DNNL_ARG_TO, to}});
  }
  void forward(worker& who, const R* x, index images, const void* packed, const float* bias, R* y) const {
    if (steps_.empty()) return plain_.forward(who, x, images, packed, bias, y);
    each_step(images, [&](const step& t, index at) {
      run(t.forward, who,
          {{DNNL_ARG_SRC, x + at * s_.in_pixels() * s_.in},
           {DNNL_ARG_WEIGHTS, packed},
           {DNNL_ARG_BIAS, bias ? bias : no_bias_.data()},
           {DNNL_ARG_DST, y + at * s_.out_pixels() * s_.out}});
    });
  }
  void backward(worker& who, const R* dy, index images, const void* packed, R* dx) const {
    if (steps_.empty()) return plain_.backward(who, dy, images, packed, dx);
    each_step(images, [&](const step& t, index at) {
      run(t.backward, who,
          {{DNNL_ARG_DIFF_DST, dy + at * s_.out_pixels() * s_.out},
           {DNNL_ARG_WEIGHTS, static_cast<const std::byte*>(packed) + forward_bytes()},
           {DNNL_ARG_DIFF_SRC, dx + at * s_.in_pixels() * s_.in}});
    });
  }
  void weight_gradient(worker& who, const R* dy, const R* x, index images, float* g, bool first) const {
    if (steps_.empty()) return plain_.weight_gradient(who, dy, x, images, g, first);
    if (!own_gradient_) return channels_.weight_gradient(who, dy, x, images, g, first);
    pieces p(who, worker_bytes());
    p.take<std::byte>(static_cast<index>(scratch_));
    float* once = p.take<float>(gradient_size());
    each_step(images, [&](const step& t, index at) {
      float* to = first ? g : once;
      run(t.gradient, who,
          {{DNNL_ARG_SRC, x + at * s_.in_pixels() * s_.in},
           {DNNL_ARG_DIFF_DST, dy + at * s_.out_pixels() * s_.out},
           {DNNL_ARG_DIFF_WEIGHTS, to}});
      const index n = gradient_size();
      if (!first) {
        POLYMOE_SIMD
        for (index i = 0; i < n; ++i) g[i] += once[i];
      }
      first = false;
    });
  }
  void add_gradient(worker& who, const float* g, float* dw) const {
    if (steps_.empty()) return plain_.add_gradient(who, g, dw);
    if (!own_gradient_) return channels_.add_gradient(who, g, dw);
    run(add_gradient_, who, {{DNNL_ARG_FROM, g}, {DNNL_ARG_TO, dw}});
  }

 private:
  struct step {
    index images = 0;
    dnnl::primitive forward, backward, gradient;
  };
  static dnnl::primitive_attr attributes() {
    dnnl::primitive_attr a;
    a.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return a;
  }
  memory::dims weight_dims() const {
    return s_.depthwise ? memory::dims{s_.in, 1, 1, s_.kernel, s_.kernel}
                        : memory::dims{s_.out, s_.in, s_.kernel, s_.kernel};
  }
  /// Prepares calls of `images` images; false where oneDNN has no compiled kernel, or none for the formats at hand.
  bool add_step(index images) {
    const auto all = dnnl::algorithm::convolution_direct;
    const memory::desc x({images, s_.in, s_.height, s_.width}, dnnl_type<R>, memory::format_tag::nhwc);
    const memory::desc y({images, s_.out, s_.down(), s_.across()}, dnnl_type<R>, memory::format_tag::nhwc);
    const memory::desc w(weight_dims(), dnnl_type<R>, memory::format_tag::any);
    const memory::desc g(weight_dims(), memory::data_type::f32, memory::format_tag::any);
    const memory::desc b({s_.out}, memory::data_type::f32, memory::format_tag::a);
    const memory::dims stride{s_.stride, s_.stride};
    const memory::dims around{s_.padding, s_.padding};
    const dnnl::primitive_attr attr = attributes();
    const dnnl::convolution_forward::primitive_desc f(
        {dnnl::prop_kind::forward_training, all, x, w, b, y, stride, around, around}, attr, cpu_engine());
    const dnnl::convolution_backward_data::primitive_desc d({all, x, w, y, stride, around, around}, attr, cpu_engine(),
                                                            f);
    const dnnl::convolution_backward_weights::primitive_desc v({all, x, g, y, stride, around, around}, attr,
                                                               cpu_engine(), f);
    const auto compiled = [](const char* name) { return std::string_view(name).find("ref") == std::string_view::npos; };
    if (!compiled(f.impl_info_str()) || !compiled(d.impl_info_str())) return false;
    // A kernel for any groups pads each channel of a depthwise convolution to 16; our loops are faster.
    const bool own = compiled(v.impl_info_str()) &&
                     (!s_.depthwise || std::string_view(v.impl_info_str()).find("dw") != std::string_view::npos);
    if (images == 1) {
      forward_ = f.weights_desc(), back_ = d.weights_desc(), gradient_ = v.diff_weights_desc(), own_gradient_ = own;
      if (!own && !s_.depthwise) return false;
    } else if (f.weights_desc() != forward_ || d.weights_desc() != back_ || own != own_gradient_ ||
               (own && v.diff_weights_desc() != gradient_)) {
      return false;
    }
    for (const std::size_t bytes :
         {f.scratchpad_desc().get_size(), d.scratchpad_desc().get_size(), v.scratchpad_desc().get_size()})
      scratch_ = std::max(scratch_, bytes);
    step t{images, dnnl::convolution_forward(f), dnnl::convolution_backward_data(d), {}};
    if (own) t.gradient = dnnl::convolution_backward_weights(v);
    steps_.push_back(std::move(t));
    return true;
  }
  void make_reorders() {
    const auto tag = s_.depthwise ? memory::format_tag::goihw : memory::format_tag::oihw;
    const memory::desc master(weight_dims(), memory::data_type::f32, tag);
    const auto make = [&](const memory::desc& from, const memory::desc& to, bool add) {
      dnnl::primitive_attr attr = attributes();
      if (add) {
        dnnl::post_ops ops;
        ops.append_sum(1.0f);
        attr.set_post_ops(ops);
      }
      const dnnl::reorder::primitive_desc pd(cpu_engine(), from, cpu_engine(), to, attr);
      scratch_ = std::max(scratch_, pd.scratchpad_desc().get_size());
      return dnnl::reorder(pd);
    };
    pack_forward_ = make(master, forward_, false);
    pack_back_ = make(master, back_, false);
    if (own_gradient_) add_gradient_ = make(gradient_, master, true);
  }
  /// f(step, first image) over `images` images: large steps first.
  template <class F>
  void each_step(index images, F f) const {
    index at = 0;
    for (std::size_t i = steps_.size(); i-- > 0;)
      for (; images - at >= steps_[i].images; at += steps_[i].images) f(steps_[i], at);
  }
  void run(const dnnl::primitive& p, const worker& who, std::initializer_list<arg> a) const {
    std::byte* pad = pieces(who, worker_bytes()).template take<std::byte>(static_cast<index>(scratch_));
    std::array<arg, 5> all{};
    std::copy(a.begin(), a.end(), all.begin());
    all[a.size()] = {DNNL_ARG_SCRATCHPAD, pad};
    argument_executor::mine().run(p, all.data(), a.size() + 1);
  }
  std::size_t forward_bytes() const { return (forward_.get_size() + 63) / 64 * 64; }

  convolution_shape s_;
  std::vector<step> steps_;  ///< of 1, 4, 16 images; empty: the plain loops
  memory::desc forward_, back_, gradient_;
  dnnl::primitive pack_forward_, pack_back_, add_gradient_;
  bool own_gradient_ = true;
  std::size_t scratch_ = 0;
  std::vector<float> no_bias_;
  plain_convolution<R, builtin> plain_;
  depthwise_convolution<R> channels_;
};

}  // namespace polymoe::inline v0::maths::detail
