// Norms of tensors on CUDA: the CPU's, to rounding, for tensors with gaps between them, one number long, and none.
// with: plans
#include "tensors.hpp"

#include <polymoe/backend/cuda/dispatch/segments.cuh>
#include <polymoe/analysis/tensor_norms.hpp>

namespace polymoe::executor_test {
namespace {

template <class T>
void compare_segments() {
  const std::vector<index> sizes{1, 70 * 131, 0, 5, 4096, 100003, 2};
  std::vector<param_entry> entries;
  index offset = 0;
  for (const index n : sizes) {
    entries.push_back({std::to_string(n), {n}, offset, n, {}});
    offset += n + (n % 3) * 4;
  }
  tensor<T> values(1, offset);
  const random_stream draw = random_root{7}.stream(1, 0);
  std::vector<T> host(static_cast<std::size_t>(offset));
  for (std::size_t i = 0; i < host.size(); ++i) host[i] = static_cast<T>(draw.normal(i));
  values.put(host);
  context<cpu> a;
  context<cuda> b;
  const auto want = segment_squares(a, host.data(), entries), got = segment_squares(b, values.v.ptr[0], entries);
  REQUIRE(got.size() == sizes.size());
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    CHECK(got[i] == doctest::Approx(want[i]).epsilon(1e-12));
    CHECK((got[i] > 0) == (sizes[i] > 0));
  }
  CHECK(segment_squares(b, values.v.ptr[0], entries) == got);
  CHECK(segment_squares(b, values.v.ptr[0], {}).empty());
}

TEST_CASE("sums of segments on the device: the CPU's, in float and double, the same bits twice") {
  compare_segments<float>(), compare_segments<double>();
}

}  // namespace
}  // namespace polymoe::executor_test
