// Dense products of every library and number type against plain loops in double, on odd sizes, poisoned outputs and
// several thread counts.
// optimise: yes
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <new>
#include <string>
#include <vector>

#include <polymoe/backend/cpu/maths.hpp>

namespace {
std::atomic<long> allocations{0};
}

// Weak, so that another test file of the same program may count too; the test below checks that this one is in use.
__attribute__((weak)) void* operator new(std::size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
__attribute__((weak)) void operator delete(void* p) noexcept { std::free(p); }
__attribute__((weak)) void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

using polymoe::aligned_block;
using polymoe::bf16;
using polymoe::index;
using polymoe::master_t;
using polymoe::worker;
namespace maths = polymoe::maths;

template <class R>
double as_double(R x) {
  return static_cast<double>(static_cast<master_t<R>>(x));
}
template <class R>
R from_double(double x) {
  return static_cast<R>(static_cast<master_t<R>>(x));
}

/// Relative norm error allowed, output of type Y from operands of type R.
template <class Y>
constexpr double tolerance = std::is_same_v<Y, double>  ? 1e-13
                             : std::is_same_v<Y, float> ? 1e-5
                                                        : 1e-2;

/// `n` values in (-1, 1) that differ by seed; a linear congruential generator, so that the test needs nothing else.
template <class R>
std::vector<R> noise(index n, unsigned seed) {
  std::vector<R> v(static_cast<std::size_t>(n));
  std::uint64_t s = seed * 7919u + 1;
  for (auto& x : v) {
    s = s * 6364136223846793005ull + 1442695040888963407ull;
    x = from_double<R>(static_cast<double>(s >> 40) / double(1 << 23) - 1);
  }
  return v;
}
template <class R>
std::vector<double> doubles(const std::vector<R>& v) {
  std::vector<double> d(v.size());
  for (std::size_t i = 0; i < v.size(); ++i) d[i] = as_double(v[i]);
  return d;
}
template <class R>
R poison() {
  return from_double<R>(std::numeric_limits<double>::quiet_NaN());
}

/// |got - want| / |want| over the first `rows` rows; NaN anywhere makes it infinite.
template <class Y>
double error_of(const Y* got, index ld, const double* want, index want_ld, index rows, index cols) {
  double difference = 0, norm = 0;
  for (index i = 0; i < rows; ++i)
    for (index j = 0; j < cols; ++j) {
      const double g = as_double(got[i * ld + j]), x = want[i * want_ld + j];
      if (!(std::abs(g) < 1e30)) return std::numeric_limits<double>::infinity();
      difference += (g - x) * (g - x), norm += x * x;
    }
  return norm == 0 ? std::sqrt(difference) : std::sqrt(difference / norm);
}

/// C[m, n] = op(A) op(B) in double; steps give the distance between rows and columns of op(A), op(B).
std::vector<double> reference(const double* a, index a_row, index a_col, const double* b, index b_row, index b_col,
                              index m, index n, index k) {
  std::vector<double> c(static_cast<std::size_t>(m * n), 0.0);
  for (index i = 0; i < m; ++i)
    for (index p = 0; p < k; ++p) {
      const double x = a[i * a_row + p * a_col];
      for (index j = 0; j < n; ++j) c[static_cast<std::size_t>(i * n + j)] += x * b[p * b_row + j * b_col];
    }
  return c;
}

struct scratch {
  explicit scratch(std::size_t bytes) : block(bytes + 64), w{0, static_cast<std::byte*>(block.data()) + 64, bytes} {}
  aligned_block block;
  worker w;
};

template <class R, class Lib>
void check_product(index k, index n) {
  using M = master_t<R>;
  constexpr index most = 256;
  const maths::product<R, Lib> p(k, n);
  scratch s(p.worker_bytes());
  aligned_block packed(p.packed_bytes()), packed_t(p.packed_bytes());
  const index ldw = n + 3, ldw_t = k;  // one padded, one dense
  const auto x = noise<R>(most * k, 1);
  const auto w = noise<M>(k * ldw, 2);
  std::vector<M> w_t(static_cast<std::size_t>(n * ldw_t));
  std::vector<double> w_rounded(w.size());
  for (index i = 0; i < k; ++i)
    for (index j = 0; j < n; ++j) {
      w_t[static_cast<std::size_t>(j * ldw_t + i)] = w[static_cast<std::size_t>(i * ldw + j)];
      w_rounded[static_cast<std::size_t>(i * ldw + j)] =
          as_double(from_double<R>(w[static_cast<std::size_t>(i * ldw + j)]));
    }
  const auto bias = noise<M>(n, 3);
  p.pack(w.data(), ldw, false, packed.data(), s.w);
  p.pack(w_t.data(), ldw_t, true, packed_t.data(), s.w);
  const auto xd = doubles(x);
  const auto want = reference(xd.data(), k, 1, w_rounded.data(), ldw, 1, most, n, k);
  auto want_bias = want;
  for (std::size_t i = 0; i < want_bias.size(); ++i) want_bias[i] += bias[i % static_cast<std::size_t>(n)];
  const auto start = noise<R>(most * n, 4);
  auto want_added = want;
  for (std::size_t i = 0; i < want_added.size(); ++i) want_added[i] += as_double(start[i]);

  for (index rows : {0, 1, 15, 16, 17, 63, 64, 65, 255, 256}) {
    CAPTURE(rows);
    // One row more than asked for stays poisoned.
    std::vector<R> y(static_cast<std::size_t>((most + 1) * n), poison<R>());
    p.run(s.w, x.data(), k, rows, packed.data(), nullptr, y.data(), n);
    CHECK(error_of(y.data(), n, want.data(), n, rows, n) < tolerance<R>);
    CHECK(std::isnan(as_double(y[static_cast<std::size_t>(rows * n)])));

    std::vector<R> same(y.size(), poison<R>());
    p.run(s.w, x.data(), k, rows, packed_t.data(), nullptr, same.data(), n);
    CHECK(std::memcmp(y.data(), same.data(), static_cast<std::size_t>(rows * n) * sizeof(R)) == 0);

    std::fill(y.begin(), y.end(), poison<R>());
    p.run(s.w, x.data(), k, rows, packed.data(), bias.data(), y.data(), n);
    CHECK(error_of(y.data(), n, want_bias.data(), n, rows, n) < tolerance<R>);

    std::copy(start.begin(), start.end(), y.begin());
    p.run(s.w, x.data(), k, rows, packed.data(), nullptr, y.data(), n, true);
    CHECK(error_of(y.data(), n, want_added.data(), n, rows, n) < tolerance<R>);

    std::vector<M> ym(y.size(), std::numeric_limits<M>::quiet_NaN());
    p.run_to_master(s.w, x.data(), k, rows, packed.data(), bias.data(), ym.data(), n);
    CHECK(error_of(ym.data(), n, want_bias.data(), n, rows, n) < tolerance<M>);
    for (std::size_t i = 0; i < start.size(); ++i) ym[i] = static_cast<M>(start[i]);
    p.run_to_master(s.w, x.data(), k, rows, packed.data(), nullptr, ym.data(), n, true);
    CHECK(error_of(ym.data(), n, want_added.data(), n, rows, n) < tolerance<M>);
  }
  // Leading dimensions that are not the row lengths; what lies between rows stays untouched.
  const index rows = 37, ldx = k + 5, ldy = n + 2;
  std::vector<R> wide(static_cast<std::size_t>(rows * ldx), poison<R>()),
      y(static_cast<std::size_t>(rows * ldy), poison<R>());
  for (index i = 0; i < rows; ++i) std::copy_n(x.data() + i * k, k, wide.data() + i * ldx);
  p.run(s.w, wide.data(), ldx, rows, packed.data(), bias.data(), y.data(), ldy);
  CHECK(error_of(y.data(), ldy, want_bias.data(), n, rows, n) < tolerance<R>);
  for (index i = 0; i < rows; ++i) CHECK(std::isnan(as_double(y[static_cast<std::size_t>(i * ldy + n)])));
}

template <class R, class Lib>
void check_outer(index n, index k, std::initializer_list<index> row_counts) {
  using M = master_t<R>;
  const index most = *std::max_element(row_counts.begin(), row_counts.end());
  const maths::outer_product<R, Lib> p(n, k);
  REQUIRE(p.blocks() >= 1);
  scratch s(p.worker_bytes());
  const index lda = n + 1, ldx = k + 2;
  const auto a = noise<R>(most * lda, 5), x = noise<R>(most * ldx, 6);
  const auto ad = doubles(a), xd = doubles(x);
  const auto start = noise<M>(n * k, 7);
  for (index rows : row_counts) {
    CAPTURE(rows);
    CHECK(p.preferred_pieces(rows) >= 1);
    auto want = reference(ad.data(), 1, lda, xd.data(), ldx, 1, n, k, rows);
    for (std::size_t i = 0; i < want.size(); ++i) want[i] += as_double(start[i]);
    for (index ldg : {k, k + 3}) {
      std::vector<M> g(static_cast<std::size_t>(n * ldg), std::numeric_limits<M>::quiet_NaN());
      for (index i = 0; i < n; ++i) std::copy_n(start.data() + i * k, k, g.data() + i * ldg);
      for (index b = p.blocks() - 1; b >= 0; --b) p.run(s.w, b, a.data(), lda, x.data(), ldx, rows, g.data(), ldg);
      CHECK(error_of(g.data(), ldg, want.data(), k, n, k) < tolerance<M>);
      if (ldg > k) CHECK(std::isnan(g[static_cast<std::size_t>(k)]));
    }
  }
}

template <class R, class Lib>
void check_batched(maths::batched_shape shape) {
  const maths::batched_product<R, Lib> p(shape);
  const auto s = shape.resolved();
  scratch room(p.worker_bytes());
  const auto a = noise<R>(s.batch * s.stride_a + s.lda * (s.m + s.k), 8);
  const auto b = noise<R>(s.batch * s.stride_b + s.ldb * (s.n + s.k), 9);
  const auto start = noise<R>(s.batch * s.stride_c + s.ldc * s.m, 10);
  auto c = s.accumulate ? start : std::vector<R>(start.size(), poison<R>());
  p.run(room.w, a.data(), b.data(), c.data());
  const auto ad = doubles(a), bd = doubles(b);
  for (index e = 0; e < s.batch; ++e) {
    auto want = reference(ad.data() + e * s.stride_a, s.trans_a ? 1 : s.lda, s.trans_a ? s.lda : 1,
                          bd.data() + e * s.stride_b, s.trans_b ? 1 : s.ldb, s.trans_b ? s.ldb : 1, s.m, s.n, s.k);
    for (index i = 0; i < s.m; ++i)
      for (index j = 0; j < s.n; ++j) {
        double& v = want[static_cast<std::size_t>(i * s.n + j)];
        v = static_cast<double>(s.alpha) * v;
        if (s.accumulate) v += as_double(start[static_cast<std::size_t>(e * s.stride_c + i * s.ldc + j)]);
      }
    CHECK(error_of(c.data() + e * s.stride_c, s.ldc, want.data(), s.n, s.m, s.n) < tolerance<R>);
  }
}

/// Sizes of a product [rows, k] [k, n] in tiles, of the outer product of its operands, and of batched products.
struct bits_sizes {
  index k, n, rows, tile, batched, batched_k;
};

/// Bits of every operation, computed by `threads` threads over tiles of fixed size, with OpenMP's own count set too.
template <class R, class Lib>
std::vector<std::byte> bits(const bits_sizes& sizes, int threads, bool inside) {
  using M = master_t<R>;
  const auto [k, n, rows, tile, batched, batched_k] = sizes;
  const index tiles = polymoe::ceil_div(rows, tile), c_size = batched * batched * 4;
  const maths::product<R, Lib> p(k, n);
  const maths::outer_product<R, Lib> o(n, k);
  maths::batched_shape shape;
  shape.m = batched, shape.n = batched, shape.k = batched_k, shape.batch = 4, shape.trans_b = true;
  const maths::batched_product<R, Lib> q(shape);
  const std::size_t need =
      polymoe::round_up(static_cast<index>(std::max({p.worker_bytes(), o.worker_bytes(), q.worker_bytes()})), 64);
  aligned_block room(need * static_cast<std::size_t>(threads) + 64), packed(p.packed_bytes());
  typename polymoe::backend::cpu_with<Lib>::stream s;
  s.threads = inside ? threads : 1, s.worker_scratch = static_cast<std::byte*>(room.data()), s.worker_bytes = need;
  const auto x = noise<R>(rows * k, 11), a = noise<R>(rows * n, 12), b = noise<R>(4 * batched * batched_k + tiles, 14);
  const auto w = noise<M>(k * n, 13);
  worker first = s.at(0);
  p.pack(w.data(), n, false, packed.data(), first);
  // Tasks of the outer product: most of the rows each, so that its sum is long too.
  const index tasks = 3;
  std::vector<R> y(static_cast<std::size_t>(rows * n)), c(static_cast<std::size_t>(c_size * tiles));
  std::vector<M> g(static_cast<std::size_t>(tasks * n * k), M(0));
#if defined(_OPENMP)
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
#endif
  polymoe::parallel_rows(s, rows, tile, [&](index r, index count, worker& me) {
    p.run(me, x.data() + r * k, k, count, packed.data(), nullptr, y.data() + r * n, n);
    q.run(me, b.data() + r / tile, b.data(), c.data() + r / tile * c_size);
  });
  polymoe::parallel_rows(s, tasks, 1, [&](index i, index, worker& me) {
    for (index block = 0; block < o.blocks(); ++block)
      o.run(me, block, a.data(), n, x.data() + i * k, k, rows - i, g.data() + i * n * k, k);
  });
#if defined(_OPENMP)
  CHECK(omp_get_max_threads() == threads);
  omp_set_num_threads(before);
#endif
  std::vector<std::byte> all(y.size() * sizeof(R) + c.size() * sizeof(R) + g.size() * sizeof(M));
  std::memcpy(all.data(), y.data(), y.size() * sizeof(R));
  std::memcpy(all.data() + y.size() * sizeof(R), c.data(), c.size() * sizeof(R));
  std::memcpy(all.data() + (y.size() + c.size()) * sizeof(R), g.data(), g.size() * sizeof(M));
  return all;
}

/// Allocations of f() after one warm-up call.
template <class F>
long count_allocations(F f) {
  f();
  const long before = allocations;
  f();
  return allocations - before;
}

template <class R, class Lib>
void for_library() {
  const std::string lib = maths::resolved<R, Lib>::name;
  const std::size_t bits_of = sizeof(R) * 8;
  CAPTURE(lib);
  CAPTURE(bits_of);
  for (index k : {1, 8, 17, 64, 192, 384})
    for (index n : {1, 8, 17, 64, 192, 384}) {
      CAPTURE(k);
      CAPTURE(n);
      check_product<R, Lib>(k, n);
    }
  check_outer<R, Lib>(17, 65, {0, 1, 300, 16384 + 3});
  check_outer<R, Lib>(1, 1, {1, 63, 64, 65});
  check_outer<R, Lib>(64, 128, {0, 127, 513});
  check_outer<R, Lib>(400, 500, {33, 600});  // several blocks, the last ones smaller
  maths::batched_shape s;
  s.batch = 3;
  for (index t : {1, 17, 65})
    for (const bool trans_a : {false, true})
      for (const bool trans_b : {false, true}) {
        CAPTURE(t);
        CAPTURE(trans_a);
        CAPTURE(trans_b);
        s.m = t, s.n = t, s.k = 24, s.trans_a = trans_a, s.trans_b = trans_b;
        s.lda = s.ldb = s.ldc = s.stride_a = s.stride_b = s.stride_c = 0, s.alpha = 1, s.accumulate = false;
        check_batched<R, Lib>(s);
        // As in attention: the three operands of a head lie side by side in one row of 3 * 4 * 24 numbers.
        s.alpha = 0.25f, s.accumulate = true, s.n = 24, s.k = t;
        s.lda = (trans_a ? s.m : s.k) + 7, s.ldb = 3 * 4 * 24, s.ldc = 4 * 24;
        s.stride_c = 24;
        check_batched<R, Lib>(s);
      }
  // Small sizes, and long sums (of the product and the batched one; of the outer product), which libraries with threads
  // of their own would cut by their number.
  for (const bits_sizes& sizes : {bits_sizes{96, 80, 700, 256, 65, 24},
                                  {16384 + 5, 17, 70, 32, 9, 16384 + 5},
                                  {24, 17, 16384 + 300, 256, 33, 40}}) {
    const auto once = bits<R, Lib>(sizes, 1, false);
    for (int threads : {1, 2, 3})
      for (const bool inside : {false, true}) CHECK(bits<R, Lib>(sizes, threads, inside) == once);
  }
}

template <class R, class Lib>
long allocations_of_run() {
  const maths::product<R, Lib> p(64, 128);
  const maths::outer_product<R, Lib> o(64, 128);
  scratch s(std::max(p.worker_bytes(), o.worker_bytes()));
  aligned_block packed(p.packed_bytes());
  const auto x = noise<R>(256 * 64, 1);
  const auto w = noise<master_t<R>>(64 * 128, 2);
  std::vector<R> y(256 * 128);
  std::vector<master_t<R>> g(64 * 128);
  CHECK(count_allocations([&] { p.pack(w.data(), 128, false, packed.data(), s.w); }) == 0);
  const long one = count_allocations([&] { p.run(s.w, x.data(), 64, 256, packed.data(), nullptr, y.data(), 128); });
  // The sum into G is a post-operation, for which oneDNN may allocate once more, and its kernels
  // without AVX-512 three times.
  const std::string isa = maths::isa_name();
  const bool wide = isa.find("512") != std::string::npos || isa.find("amx") != std::string::npos;
  CHECK(count_allocations([&] { o.run(s.w, 0, x.data(), 64, y.data(), 128, 128, g.data(), 128); }) <=
        (one ? one + (wide ? 1 : 3) : 0));
  return one;
}

}  // namespace

TEST_CASE("maths: builtin products") {
  for_library<float, maths::builtin>();
  for_library<double, maths::builtin>();
  for_library<bf16, maths::builtin>();
}

#if defined(POLYMOE_WITH_CBLAS)
TEST_CASE("maths: cblas products") {
  for_library<float, maths::cblas>();
  for_library<double, maths::cblas>();
}
#endif

#if defined(POLYMOE_WITH_ONEDNN)
TEST_CASE("maths: oneDNN products, float") { for_library<float, maths::onednn>(); }
TEST_CASE("maths: oneDNN products, bf16") { for_library<bf16, maths::onednn>(); }
#endif

TEST_CASE("maths: which library answers") {
  CHECK(maths::available<maths::builtin, double>());
  CHECK_FALSE(maths::available<maths::cblas, bf16>());
  CHECK_FALSE(maths::available<maths::onednn, double>());
#if defined(POLYMOE_WITH_ONEDNN)
  CHECK(std::is_same_v<maths::resolved<float>, maths::onednn>);
  CHECK(std::is_same_v<maths::resolved<bf16>, maths::onednn>);
#else
  CHECK(std::is_same_v<maths::resolved<bf16>, maths::builtin>);
  CHECK_FALSE(maths::bf16_is_fast());
#endif
#if defined(POLYMOE_WITH_CBLAS)
  CHECK(std::is_same_v<maths::resolved<double>, maths::cblas>);
#else
  CHECK(std::is_same_v<maths::resolved<double>, maths::builtin>);
#endif
  CHECK(maths::isa_name() != "");
}

TEST_CASE("maths: misuse is refused") {
  CHECK_THROWS_AS((maths::product<float>(0, 4)), polymoe::error);
  CHECK_THROWS_AS((maths::outer_product<float>(4, 0)), polymoe::error);
  maths::batched_shape s;
  s.m = s.n = s.k = 4, s.lda = 3;
  CHECK_THROWS_AS((maths::batched_product<float>(s)), polymoe::error);
  const maths::product<bf16> p(8, 8);
  worker none;
  const auto x = noise<bf16>(8 * 300, 1);
  std::vector<bf16> y(8 * 300);
  aligned_block packed(p.packed_bytes());
  CHECK_THROWS_AS(p.run(none, x.data(), 8, 4, packed.data(), nullptr, y.data(), 8), polymoe::error);
  scratch room(p.worker_bytes());
  CHECK_THROWS_AS(p.run(room.w, x.data(), 8, 257, packed.data(), nullptr, y.data(), 8), polymoe::error);
}

TEST_CASE("maths: calls allocate nothing") {
  const long before = allocations;
  ::operator delete(::operator new(1));  // a new-expression could be optimised away
  const long counted = allocations - before;
  REQUIRE_MESSAGE(counted == 1, "another file of this program replaced operator new: nothing would be counted");
  CHECK(allocations_of_run<float, maths::builtin>() == 0);
  CHECK(allocations_of_run<bf16, maths::builtin>() == 0);
#if defined(POLYMOE_WITH_CBLAS)
  CHECK(allocations_of_run<double, maths::cblas>() == 0);
#endif
#if defined(POLYMOE_WITH_ONEDNN)
  // oneDNN 2.6 allocates inside each execution; a whole call must not add to what the bare primitive does.
  namespace inner = maths::detail;
  const auto m = inner::make_matmul(inner::plain<float>(256, 64, 64, 1), inner::plain<float>(64, 128, 128, 1),
                                    inner::plain<float>(256, 128, 128, 1), false, false);
  const auto x = noise<float>(256 * 64, 1), w = noise<float>(64 * 128, 2);
  std::vector<float> y(256 * 128);
  aligned_block pad(m.scratch + 64);
  const long bare = count_allocations([&] { m.run(x.data(), w.data(), nullptr, y.data(), pad.data()); });
  MESSAGE("oneDNN's own allocations in one execution: ", bare);
  CHECK(allocations_of_run<float, maths::onednn>() == bare);
  CHECK(allocations_of_run<bf16, maths::onednn>() <= bare);
#endif
}
