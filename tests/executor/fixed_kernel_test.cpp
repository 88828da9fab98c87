// Routing by a table on CUDA under the host executor against the CPU backend: the table lies in device memory, and its
// numbers may be any.
// timeout: 300
// with: column_plans
#include "columns_harness.hpp"

namespace {
using namespace columns_test;

template <class Spec>
void check_fixed(const setup& s, int units_per_id) {
  std::vector<int> ids;
  for (int i = 0; i < s.units / units_per_id + 1; ++i) ids.push_back(static_cast<int>(11 * i % 17) - 4);
  polymoe::backend::device_block table(ids.size() * sizeof(int));
  polymoe::device::upload(table.data(), ids.data(), table.size(), nullptr);
  typename Spec::router of_host, of_device;
  of_host.units_per_id = of_device.units_per_id = units_per_id;
  of_host.ids = ids.data(), of_device.ids = static_cast<const int*>(table.data());
  const pair_of_backends<Spec> p(s, of_host, of_device);
  const auto& expert_of = p.device().expert_of;
  for (int t = 0; t < s.units; ++t)
    if (const int e = expert_of[static_cast<std::size_t>(t)]; e >= 0)
      CHECK(e == (ids[static_cast<std::size_t>(t / units_per_id)] + static_cast<int>(s.experts) * 4) % s.experts);
}
}  // namespace

TEST_CASE("a table of experts in device memory: negative and large ids, one for several units, bad units, drops") {
  using oracle = bounded_spec<double, polymoe::fixed<>>;
  check_fixed<oracle>({.units = 66, .experts = 5, .factor = 2, .kind = inputs::bad, .seed = 1}, 1);
  check_fixed<oracle>({.units = 70, .experts = 7, .group_size = 32, .padded = true, .factor = 0.5f, .seed = 2}, 4);
  check_fixed<oracle>({.units = 0, .experts = 3, .seed = 3}, 1);
  using weighed = bounded_spec<float, polymoe::fixed<polymoe::score::softmax>>;
  check_fixed<weighed>({.units = 65, .experts = 6, .seed = 4}, 3);
  const pair_of_backends<oracle> none({.units = 10, .experts = 4, .factor = 4, .seed = 5});
  for (const int e : none.device().expert_of) CHECK(e == 0);
}
