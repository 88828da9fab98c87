// bf16 rounding, Philox, and the memory pieces: arena, view, visitor.
// sanitize: yes
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <polymoe/core/param.hpp>
#include <set>

namespace polymoe {
namespace {

TEST_CASE("bf16: rounds to the nearest, ties to even") {
  for (std::uint32_t top = 0; top < 0x10000u; top += 37) {
    const float exact = bit_cast<float>(top << 16);
    if (!(exact == exact)) continue;
    CHECK(bf16(exact).bits == top);  // values of bf16 survive
    const float next = bit_cast<float>((top + 1) << 16);
    if (!(next == next) || std::isinf(next) || std::signbit(next) != std::signbit(exact)) continue;
    const auto half = bit_cast<float>((top << 16) + 0x8000u);
    CHECK(bf16(half).bits == ((top & 1u) ? top + 1 : top));
    CHECK(bf16(bit_cast<float>((top << 16) + 0x7fffu)).bits == top);
    CHECK(bf16(bit_cast<float>((top << 16) + 0x8001u)).bits == top + 1);
  }
  CHECK(std::isnan(static_cast<float>(bf16(std::nanf("")))));
  CHECK(std::isnan(static_cast<float>(bf16(bit_cast<float>(0x7f800001u)))));  // a NaN whose top bits alone are infinity
  CHECK(std::isinf(static_cast<float>(bf16(std::numeric_limits<float>::infinity()))));
  CHECK(std::isinf(static_cast<float>(bf16(3.4e38f))));
}

TEST_CASE("philox: the known answers of Random123") {
  // kat_vectors of Random123, philox4x32 with 10 rounds.
  const words4 zero = philox({0, 0, 0, 0}, 0, 0);
  CHECK(zero.a == 0x6627e8d5u);
  CHECK(zero.b == 0xe169c58du);
  CHECK(zero.c == 0xbc57ac4cu);
  CHECK(zero.d == 0x9b00dbd8u);
  const words4 ones = philox({~0u, ~0u, ~0u, ~0u}, ~0u, ~0u);
  CHECK(ones.a == 0x408f276du);
  CHECK(ones.b == 0x41c83b0eu);
  CHECK(ones.c == 0xa20bc7c6u);
  CHECK(ones.d == 0x6d5451fdu);
  static_assert(philox({0, 0, 0, 0}, 0, 0).a == 0x6627e8d5u, "usable at compile time");
}
TEST_CASE("random streams: moments, and independence of names, steps and seeds") {
  const auto a = random_root{1}.stream(stream_id("a"), 0), b = random_root{1}.stream(stream_id("b"), 0);
  const auto later = random_root{1}.stream(stream_id("a"), 1), other = random_root{2}.stream(stream_id("a"), 0);
  double sum = 0, square = 0, cube = 0, u = 0, ab = 0, al = 0, ao = 0;
  const int n = 100000;
  for (std::uint64_t i = 0; i < n; ++i) {
    const double x = a.normal(i);
    sum += x, square += x * x, cube += x * x * x, u += a.uniform(i);
    ab += x * b.normal(i), al += x * later.normal(i), ao += x * other.normal(i);
  }
  const double error = 1 / std::sqrt(n);
  CHECK(std::abs(sum / n) < 4 * error);
  CHECK(std::abs(square / n - 1) < 4 * std::sqrt(2.0) * error);
  CHECK(std::abs(cube / n) < 4 * std::sqrt(15.0) * error);
  CHECK(std::abs(u / n - 0.5) < 4 * error / std::sqrt(12.0));
  for (const double c : {ab, al, ao}) CHECK(std::abs(c / n) < 4 * error);
  std::set<std::uint32_t> seen;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const auto k = a.below(i, 7);
    CHECK(k < 7);
    seen.insert(k);
  }
  CHECK(seen.size() == 7);
}

TEST_CASE("arena: a dry pass measures what the real pass takes") {
  const auto take = [](arena& m) {
    m.take<float>(3, 5);
    const auto mark = m.mark();
    m.take<dual<double>>(7, 11);
    m.release(mark);
    return m.take<bf16>(9, 1);
  };
  arena dry;
  CHECK(take(dry).ptr[0] == nullptr);
  aligned_block block(dry.peak());
  arena real = block.as_arena();
  const view<bf16> v = take(real);
  CHECK(real.peak() == dry.peak());
  CHECK(reinterpret_cast<std::uintptr_t>(v.ptr[0]) % arena::alignment == 0);
  CHECK(std::isnan(v.get(8, 0)));  // memory nobody wrote is NaN
  CHECK_THROWS_WITH_AS(real.take<double>(1000, 1000), doctest::Contains("bytes needed, the block has"), error);
  arena huge;
  CHECK_THROWS_AS(huge.take<double>(index{1} << 40, index{1} << 40), error);
}

TEST_CASE("view: planes, rows, columns, conversion") {
  double value[6] = {1, 2, 3, 4, 5, 6}, tangent[6] = {10, 20, 30, 40, 50, 60};
  const view<dual<double>> v(value, tangent, 2, 3);
  CHECK(v.get(1, 2).t == 60);
  v.add(0, 0, {1, 1});
  CHECK(value[0] == 2);
  CHECK(tangent[0] == 11);
  const view<const dual<double>> c = v.rows_at(1, 1).cols_at(1, 2);
  CHECK(c.rows == 1);
  CHECK(c.get(0, 1).v == 6);
  CHECK(c.plane(1).get(0, 0) == 50);
  CHECK(!c.rows_at(0, 1).contiguous() == false);
}

TEST_CASE("visitor: names, alignment, and both passes agree") {
  struct module {
    param<float> w, b;
    float* state = nullptr;
    std::byte* packed = nullptr;
    std::uint64_t id = 0;
    void visit(visitor<float>& v) {
      v.add(w, "weight", {3, 5}, init_rule::normal(1));
      v.add_stack(b, 2, [](index e) { return std::to_string(e) + ".bias"; }, {7}, init_rule::zeros(), decay::no);
      v.add_state(state, "load", 4, 0.5f);
      v.add_derived(packed, 10);
      v.add_stream(id, "noise");
    }
  } m;
  visitor<float> count;
  count.child("layer", m);
  CHECK(count.param_count() == 15 + 14);
  REQUIRE(count.params().size() == 3);
  CHECK(count.params()[2].name == "layer.1.bias");
  CHECK(count.params()[1].offset % 16 == 0);
  CHECK(m.id == stream_id("layer.noise"));
  std::vector<float> values(static_cast<std::size_t>(count.param_elements())), grads(values.size()),
      state(static_cast<std::size_t>(count.state_elements()));
  std::vector<std::byte> derived(count.derived_bytes());
  visitor<float> attach({values.data(), 1, count.param_elements()}, {grads.data(), 1, count.param_elements()},
                        state.data(), derived.data());
  attach.child("layer", m);
  CHECK(m.w.value.rows == 3);
  CHECK(m.b.value_of_block(1).ptr[0] == values.data() + count.params()[2].offset);
  CHECK(m.b.grad_of_block(1).ptr[0] == grads.data() + count.params()[2].offset);
  CHECK(m.state == state.data());
}

TEST_CASE("require: both numbers in the message") {
  CHECK_THROWS_WITH_AS(require(false, "gather: x is ", 380, ", expected ", 384), "gather: x is 380, expected 384",
                       error);
  CHECK_THROWS_AS(checked_mul(index{1} << 40, index{1} << 30, "size"), error);
  CHECK(checked_mul(1 << 20, 1 << 20, "size") == index{1} << 40);
}

}  // namespace
}  // namespace polymoe
