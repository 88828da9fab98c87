// Dense products through oneDNN (f32, bf16) on one thread, with every primitive prepared in the constructor.
//
// - Threads: oneDNN cuts work by the number of OpenMP threads, seen both when a primitive is created and when it runs.
//   `one_thread` makes it see 1 in both places, so bits never depend on the caller's threads.
// - Weights: oneDNN's own blocked format (columns in blocks of 64; rows in blocks of 16, or of 32 in interleaved pairs
//   for bf16) is asked from the widest primitive and imposed on the others.  The packer reads the format's description,
//   so a format this file does not know is still packed correctly, only more slowly.
// - Memory objects: a primitive knows its shapes, so the objects passed at execution only carry addresses.  Each thread
//   makes one set of them (and a stream) at its first call and keeps it; later calls allocate nothing of ours, while
//   oneDNN 2.6 itself makes a few small allocations per execution.
// - A CPU without bf16 instructions: oneDNN refuses bf16 there, and the built-in loops take over.
#pragma once

#include <array>
#include <dnnl.hpp>
#include <optional>

#include "maths_onednn_pack.hpp"

#if !defined(_OPENMP)
// A program without OpenMP still shares the process with oneDNN's OpenMP threads.
extern "C" int omp_get_max_threads() __attribute__((weak));
extern "C" void omp_set_num_threads(int) __attribute__((weak));
#endif

namespace polymoe::inline v0::maths::detail {

/// While it lives, OpenMP offers one thread to code called from here.
class one_thread {
 public:
  one_thread() : before_(get()) {
    if (before_ != 1) set(1);
  }
  ~one_thread() {
    if (before_ != 1) set(before_);
  }
  one_thread(const one_thread&) = delete;
  one_thread& operator=(const one_thread&) = delete;

 private:
#if defined(_OPENMP)
  static int get() { return omp_get_max_threads(); }
  static void set(int n) { omp_set_num_threads(n); }
#else
  static int get() { return omp_get_max_threads ? omp_get_max_threads() : 1; }
  static void set(int n) {
    if (omp_set_num_threads) omp_set_num_threads(n);
  }
#endif
  int before_;
};

/// The CPU engine.  Never destroyed: threads that end late may still hold streams of it.
inline const dnnl::engine& cpu_engine() {
  static const dnnl::engine& e = *new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return e;
}

template <class R>
inline constexpr dnnl::memory::data_type dnnl_type =
    std::is_same_v<R, float> ? dnnl::memory::data_type::f32 : dnnl::memory::data_type::bf16;

/// True when oneDNN multiplies bf16 with instructions made for it (AVX512-BF16 or AMX).
inline bool dnnl_has_bf16() {
  static const bool yes = [] {
    const auto have = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
    const auto want = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
    return (have & want) == want;
  }();
  return yes;
}

/// Runs primitives of the calling thread.
class executor {
 public:
  static executor& mine() {
    thread_local executor e;
    return e;
  }
  /// src x weights (+ bias) -> dst; bias may be null when the primitive has none.
  void run(const dnnl::primitive& p, const void* src, const void* weights, const void* bias, void* dst, void* scratch) {
    const one_thread guard;
    const std::array<const void*, 5> address = {src, weights, dst, scratch, bias};
    const int count = bias ? 5 : 4;
    for (int i = 0; i < count; ++i)
      check(dnnl_memory_set_data_handle(args_[static_cast<std::size_t>(i)].memory,
                                        const_cast<void*>(address[static_cast<std::size_t>(i)])));
    check(dnnl_primitive_execute(p.get(), stream_.get(), count, args_.data()));
  }

 private:
  executor() : stream_(cpu_engine()) {
    const dnnl::memory::desc one_byte({1}, dnnl::memory::data_type::u8, dnnl::memory::format_tag::a);
    const std::array<int, 5> names = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD, DNNL_ARG_BIAS};
    for (std::size_t i = 0; i < names.size(); ++i) {
      memory_[i] = dnnl::memory(one_byte, cpu_engine(), nullptr);
      args_[i] = {names[i], memory_[i].get()};
    }
  }
  static void check(dnnl_status_t s) {
    if (s != dnnl_success) polymoe::detail::fail("oneDNN could not run a product, status ", static_cast<int>(s));
  }
  dnnl::stream stream_;
  std::array<dnnl::memory, 5> memory_;
  std::array<dnnl_exec_arg_t, 5> args_;
};

/// One matmul of fixed shape.
struct matmul {
  dnnl::primitive primitive;
  std::size_t scratch = 0;
  dnnl::memory::desc weights;

  void run(const void* src, const void* w, const void* bias, void* dst, void* pad) const {
    executor::mine().run(primitive, src, w, bias, dst, pad);
  }
};

/// dst = scale * src x weights (+ bias) or dst += scale * src x weights.
inline matmul make_matmul(const dnnl::memory::desc& src, const dnnl::memory::desc& weights,
                          const dnnl::memory::desc& dst, bool bias, bool accumulate, float scale = 1) {
  using dnnl::memory;
  const one_thread guard;
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (scale != 1) attr.set_output_scales(0, {scale});
  if (accumulate) {
    dnnl::post_ops ops;
    ops.append_sum(1.0f);
    attr.set_post_ops(ops);
  }
  try {
    const memory::desc b({1, dst.dims().back()}, memory::data_type::f32, memory::format_tag::ab);
    const auto d = bias ? dnnl::matmul::desc(src, weights, b, dst) : dnnl::matmul::desc(src, weights, dst);
    const dnnl::matmul::primitive_desc pd(d, attr, cpu_engine());
    return {dnnl::matmul(pd), pd.scratchpad_desc().get_size(), pd.weights_desc()};
  } catch (const dnnl::error& e) {
    polymoe::detail::fail("oneDNN has no product for m, n, k = ", src.dims()[src.dims().size() - 2], ", ",
                          dst.dims().back(), ", ", src.dims().back(), " on this CPU: ", e.what());
  }
}

/// Copies [rows, cols] between leading dimensions.
template <class U>
void copy_rows(const U* from, index ld_from, index rows, index cols, U* to, index ld_to) {
  if (cols == ld_from && cols == ld_to)
    std::copy_n(from, rows * cols, to);
  else
    for (index i = 0; i < rows; ++i) std::copy_n(from + i * ld_from, cols, to + i * ld_to);
}

/// A dense or strided matrix.
template <class R>
dnnl::memory::desc plain(index rows, index cols, index row, index col) {
  return {{rows, cols}, dnnl_type<R>, dnnl::memory::dims{row, col}};
}

/// product (maths.hpp).  Rows are walked in steps of 256, 64 and 16; the last step is padded in the worker's scratch.
template <class R>
class onednn_product {
  static constexpr std::array<index, 3> ladder = {16, 64, 256};
  enum variant { plain_sum, with_bias, added, variants };
  using set = std::array<std::array<matmul, variants>, ladder.size()>;

 public:
  static constexpr index tile_rows = 256;

  onednn_product() = default;
  onednn_product(index k, index n) : k_(k), n_(n) {
    require(k > 0 && n > 0, "product: k, n = ", k, ", ", n, " must be positive");
    if constexpr (!std::is_same_v<R, float>)
      if (!dnnl_has_bf16()) {
        plain_loops_.emplace(k, n);
        return;
      }
    using dnnl::memory;
    memory::desc weights({k, n}, dnnl_type<R>, memory::format_tag::any);
    weights = make_matmul(plain<R>(tile_rows, k, k, 1), weights, plain<R>(tile_rows, n, n, 1), false, false).weights;
    packer_ = weight_packer<R>(weights, k, n);
    for (std::size_t s = 0; s < ladder.size(); ++s)
      for (int v = 0; v < variants; ++v) {
        const auto make = [&](const memory::desc& y) {
          return make_matmul(plain<R>(ladder[s], k, k, 1), weights, y, v == with_bias, v == added);
        };
        same_[s][static_cast<std::size_t>(v)] = make(plain<R>(ladder[s], n, n, 1));
        scratch_ = std::max(scratch_, same_[s][static_cast<std::size_t>(v)].scratch);
        if constexpr (!std::is_same_v<R, float>) {
          master_[s][static_cast<std::size_t>(v)] = make(plain<float>(ladder[s], n, n, 1));
          scratch_ = std::max(scratch_, master_[s][static_cast<std::size_t>(v)].scratch);
        }
      }
  }
  index k() const { return k_; }
  index n() const { return n_; }
  std::size_t packed_bytes() const { return plain_loops_ ? plain_loops_->packed_bytes() : packer_.size(); }
  std::size_t worker_bytes() const {
    if (plain_loops_) return plain_loops_->worker_bytes();
    pieces p(nullptr);
    p.take<std::byte>(static_cast<index>(scratch_));
    p.take<R>(tile_rows * k_);
    p.take<float>(tile_rows * n_);
    return p.bytes();
  }
  void pack(const float* w, index ldw, bool transposed, void* packed, worker& who) const {
    if (plain_loops_) return plain_loops_->pack(w, ldw, transposed, packed, who);
    packer_.pack(w, transposed ? 1 : ldw, transposed ? ldw : 1, k_, static_cast<R*>(packed));
  }
  void run(worker& w, const R* x, index ldx, index rows, const void* packed, const float* bias, R* y, index ldy,
           bool accumulate = false) const {
    if (plain_loops_) return plain_loops_->run(w, x, ldx, rows, packed, bias, y, ldy, accumulate);
    multiply(same_, w, x, ldx, rows, packed, bias, y, ldy, accumulate);
  }
  void run_to_master(worker& w, const R* x, index ldx, index rows, const void* packed, const float* bias, float* y,
                     index ldy, bool accumulate = false) const {
    if (plain_loops_) return plain_loops_->run_to_master(w, x, ldx, rows, packed, bias, y, ldy, accumulate);
    if constexpr (std::is_same_v<R, float>)
      multiply(same_, w, x, ldx, rows, packed, bias, y, ldy, accumulate);
    else
      multiply(master_, w, x, ldx, rows, packed, bias, y, ldy, accumulate);
  }

 private:
  /// The ladder step for what is left: the widest that is full; a rest above 32 rows is padded to 64.
  static std::size_t step_for(index rows) { return rows >= 256 ? 2 : rows > 32 ? 1 : 0; }
  template <class Y>
  void multiply(const set& prepared, worker& w, const R* x, index ldx, index rows, const void* packed,
                const float* bias, Y* y, index ldy, bool accumulate) const {
    require(rows <= tile_rows, "product: ", rows, " rows in one call, at most ", tile_rows, " are allowed");
    pieces p(w, worker_bytes());
    std::byte* scratch = p.take<std::byte>(static_cast<index>(scratch_));
    R* x_pad = p.template take<R>(tile_rows * k_);
    Y* y_pad = p.template take<Y>(tile_rows * n_);
    const std::size_t v = accumulate ? added : bias ? with_bias : plain_sum;
    for (index r = 0; r < rows;) {
      const std::size_t s = step_for(rows - r);
      const index step = ladder[s], len = std::min(step, rows - r);
      const R* from = x + r * ldx;
      Y* to = y + r * ldy;
      const bool copy_x = len < step || ldx != k_, copy_y = len < step || ldy != n_;
      if (copy_x) {
        copy_rows(from, ldx, len, k_, x_pad, k_);
        std::fill_n(x_pad + len * k_, (step - len) * k_, static_cast<R>(0.0f));
      }
      if (copy_y && accumulate) {
        copy_rows(to, ldy, len, n_, y_pad, n_);
        std::fill_n(y_pad + len * n_, (step - len) * n_, static_cast<Y>(0.0f));
      }
      prepared[s][v].run(copy_x ? x_pad : from, packed, v == with_bias ? bias : nullptr, copy_y ? y_pad : to, scratch);
      if (copy_y) copy_rows(y_pad, n_, len, n_, to, ldy);
      r += len;
    }
  }

  index k_ = 0, n_ = 0;
  std::size_t scratch_ = 0;
  weight_packer<R> packer_;
  set same_;    ///< Y of type R
  set master_;  ///< Y of type float, for bf16 only
  std::optional<builtin_product<R>> plain_loops_;
};

/// outer_product (maths.hpp).  A's rows are transposed and X's rows packed in scratch, chunk by chunk, because oneDNN
/// reads a transposed operand at a quarter of its speed.  A last short chunk is zero padded to the next ladder step.
template <class R>
class onednn_outer_product {
  // The longest chunk's operands and one block of G take half of a second-level cache of 2 MiB, which neighbours share.
  static constexpr index longest = std::is_same_v<R, float> ? 128 : 256;
  static constexpr std::array<index, 4> ladder = {longest / 8, longest / 4, longest / 2, longest};
  static constexpr index side = 384;

 public:
  onednn_outer_product() = default;
  onednn_outer_product(index n, index k) : blocks_(n, k, side, side) {
    if constexpr (!std::is_same_v<R, float>)
      if (!dnnl_has_bf16()) {
        plain_loops_.emplace(n, k);
        return;
      }
    using dnnl::memory;
    const index last = blocks_.count() - 1;
    for (std::size_t tail_n = 0; tail_n < 2; ++tail_n)
      for (std::size_t tail_k = 0; tail_k < 2; ++tail_k) {
        const index nb = blocks_.size_n(tail_n ? last : 0), kb = blocks_.size_k(tail_k ? last : 0);
        for (std::size_t s = 0; s < ladder.size(); ++s) {
          step& t = steps_[s][tail_n][tail_k];
          const memory::desc any({ladder[s], kb}, dnnl_type<R>, memory::format_tag::any);
          t.product = make_matmul(plain<R>(nb, ladder[s], ladder[s], 1), any, plain<float>(nb, kb, kb, 1), false, true);
          t.packer = weight_packer<R>(t.product.weights, ladder[s], kb);
          scratch_ = std::max(scratch_, t.product.scratch);
          packed_ = std::max(packed_, t.packer.size());
        }
      }
  }
  index blocks() const { return plain_loops_ ? plain_loops_->blocks() : blocks_.count(); }
  index preferred_pieces(index rows) const {
    return plain_loops_ ? plain_loops_->preferred_pieces(rows) : blocks_.preferred_pieces(rows);
  }
  std::size_t worker_bytes() const {
    if (plain_loops_) return plain_loops_->worker_bytes();
    pieces p(nullptr);
    p.take<std::byte>(static_cast<index>(scratch_));
    p.take<std::byte>(static_cast<index>(packed_));
    p.take<R>(ladder.back() * blocks_.step_n());
    p.take<float>(blocks_.step_n() * blocks_.step_k());
    return p.bytes();
  }
  void run(worker& w, index block, const R* a, index lda, const R* x, index ldx, index rows, float* g,
           index ldg) const {
    if (plain_loops_) return plain_loops_->run(w, block, a, lda, x, ldx, rows, g, ldg);
    if (rows <= 0) return;
    pieces p(w, worker_bytes());
    std::byte* scratch = p.take<std::byte>(static_cast<index>(scratch_));
    R* packed = reinterpret_cast<R*>(p.take<std::byte>(static_cast<index>(packed_)));
    R* turned = p.template take<R>(ladder.back() * blocks_.step_n());
    float* g_pad = p.take<float>(blocks_.step_n() * blocks_.step_k());
    const index n0 = blocks_.first_n(block), nb = blocks_.size_n(block);
    const index k0 = blocks_.first_k(block), kb = blocks_.size_k(block);
    const std::size_t tail_n = nb != blocks_.step_n(), tail_k = kb != blocks_.step_k();
    g += n0 * ldg + k0;
    // oneDNN's fast kernels want a dense output.
    const bool dense = ldg == kb;
    float* sum = dense ? g : g_pad;
    if (!dense) copy_rows(g, ldg, nb, kb, g_pad, kb);
    for (index r = 0; r < rows;) {
      std::size_t s = 0;
      while (s + 1 < ladder.size() && ladder[s] < rows - r) ++s;
      const step& t = steps_[s][tail_n][tail_k];
      const index len = std::min(ladder[s], rows - r);
      transpose(a + r * lda + n0, lda, len, nb, turned, ladder[s]);
      t.packer.pack(x + r * ldx + k0, ldx, index{1}, len, packed);
      t.product.run(turned, packed, nullptr, sum, scratch);
      r += len;
    }
    if (!dense) copy_rows(g_pad, kb, nb, kb, g, ldg);
  }

 private:
  struct step {
    matmul product;
    weight_packer<R> packer;
  };
  output_blocks blocks_;
  std::size_t scratch_ = 0, packed_ = 0;
  std::array<std::array<std::array<step, 2>, 2>, ladder.size()> steps_;
  std::optional<builtin_outer_product<R>> plain_loops_;
};

/// batched_product (maths.hpp), one matrix at a time: oneDNN's fast kernels take dense rows and blocked weights only,
/// so operands that lie otherwise pass through scratch.
template <class R>
class onednn_batched_product {
 public:
  onednn_batched_product() = default;
  explicit onednn_batched_product(const batched_shape& shape) : s_(shape.resolved()) {
    if constexpr (!std::is_same_v<R, float>)
      if (!dnnl_has_bf16()) {
        plain_loops_.emplace(shape);
        return;
      }
    const dnnl::memory::desc any({s_.k, s_.n}, dnnl_type<R>, dnnl::memory::format_tag::any);
    product_ =
        make_matmul(plain<R>(s_.m, s_.k, s_.k, 1), any, plain<R>(s_.m, s_.n, s_.n, 1), false, s_.accumulate, s_.alpha);
    packer_ = weight_packer<R>(product_.weights, s_.k, s_.n);
  }
  std::size_t worker_bytes() const {
    if (plain_loops_) return plain_loops_->worker_bytes();
    return room(pieces(nullptr)).bytes;
  }
  void run(worker& w, const R* a, const R* b, R* c) const {
    if (plain_loops_) return plain_loops_->run(w, a, b, c);
    const buffers at = room(pieces(w, worker_bytes()));
    for (index e = 0; e < s_.batch; ++e, a += s_.stride_a, b += s_.stride_b, c += s_.stride_c) {
      const R* left = a;
      if (s_.trans_a)
        transpose(a, s_.lda, s_.k, s_.m, at.a, s_.k), left = at.a;
      else if (s_.lda != s_.k)
        copy_rows(a, s_.lda, s_.m, s_.k, at.a, s_.k), left = at.a;
      packer_.pack(b, s_.trans_b ? 1 : s_.ldb, s_.trans_b ? s_.ldb : 1, s_.k, at.b);
      R* out = s_.ldc == s_.n ? c : at.c;
      if (out != c && s_.accumulate) copy_rows(c, s_.ldc, s_.m, s_.n, out, s_.n);
      product_.run(left, at.b, nullptr, out, at.scratch);
      if (out != c) copy_rows(out, s_.n, s_.m, s_.n, c, s_.ldc);
    }
  }

 private:
  struct buffers {
    std::byte* scratch;
    R *a, *b, *c;
    std::size_t bytes;
  };
  buffers room(pieces p) const {
    buffers r{};
    r.scratch = p.take<std::byte>(static_cast<index>(product_.scratch));
    r.a = p.take<R>(s_.m * s_.k);
    r.b = p.take<R>(static_cast<index>(packer_.size() / sizeof(R)));
    r.c = p.take<R>(s_.m * s_.n);
    r.bytes = p.bytes();
    return r;
  }
  batched_shape s_;
  matmul product_;
  weight_packer<R> packer_;
  std::optional<builtin_batched_product<R>> plain_loops_;
};

}  // namespace polymoe::inline v0::maths::detail
