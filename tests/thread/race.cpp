// A data race on purpose: the thread sanitizer must report it, or a clean run of the others means nothing.
// Only built with POLYMOE_SANITIZE=thread.
#include <chrono>
#include <cstdio>

#include <polymoe/backend/cpu/parallel.hpp>

int main() {
  polymoe::cpu::stream s;
  s.threads = 3;
  polymoe::index sum = 0;
  polymoe::parallel_for(s, 64, [&](polymoe::index i, polymoe::worker&) {
    // Long enough for every thread to get a tile.
    const auto start = std::chrono::steady_clock::now();
    while (std::chrono::steady_clock::now() - start < std::chrono::microseconds(500)) {
    }
    sum += i;  // tiles must share nothing
  });
  std::printf("%lld\n", static_cast<long long>(sum));
}
