// A batch of training images made on the device: gathered by the epoch's order, augmented, normalised.
//
// The epoch's order lies in device memory; which batch it is may come from the step in device memory, so that a captured
// training step finds its images when it is replayed.
#pragma once

#include "../../../core/context.hpp"
#include "../../../train/augment.hpp"
#include "../device.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// A data set in device memory, and how its batches are made.
template <class T>
struct device_images {
  const std::uint8_t* pixels = nullptr;   ///< [N, C, H, W]
  const std::int32_t* classes = nullptr;  ///< [N]
  const std::int32_t* order = nullptr;    ///< [N] of the epoch
  const T* table = nullptr;               ///< [C, 256] normalised values of a pixel
  index channels = 0, height = 0, width = 0, images = 0, batch = 0;
  augment_options augment{};
  std::uint64_t seed = 0;
};
/// Which batch: named by the host, or that of the step in device memory.
struct batch_choice {
  index batch = 0;
  std::uint64_t epoch = 0;
  index steps_per_epoch = 0;  ///< above 0: epoch and batch follow from the step
  index accumulate = 1;       ///< micro-batches of a step
};

namespace kernel {

inline constexpr int batch_threads = 256;

/// x[r] = image order[b * batch + r], labels[r] its class; n rows.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(batch_threads)
fill_batch_kernel(const POLYMOE_GRID_CONSTANT device_images<T> d, batch_choice which, const step_state* step, index n, view<T> x,
                  std::int32_t* labels) {
  if (which.steps_per_epoch > 0) {
    const step_state s = step ? *step : step_state{};
    which.epoch = static_cast<std::uint64_t>(s.step / which.steps_per_epoch);
    which.batch = s.step % which.steps_per_epoch * which.accumulate + s.micro;
  }
  const index features = d.channels * d.height * d.width, plane = d.height * d.width;
  for (index i = device::block_rank() * batch_threads + device::thread_rank(); i < n * features;
       i += device::grid_size().volume() * batch_threads) {
    const index r = i / features, at = i % features, c = at / plane, py = at % plane / d.width, px = at % d.width;
    const index image = d.order[which.batch * d.batch + r];
    const auto a = augmentation::draw(d.augment, {d.seed}, which.epoch, image, d.height, d.width);
    const index sy = v0::detail::source_pixel(py + a.dy, d.height, d.augment.outside);
    const index sx = v0::detail::source_pixel((a.mirrored ? d.width - 1 - px : px) + a.dx, d.width, d.augment.outside);
    const bool inside = sy >= 0 && sx >= 0;
    const int value = inside ? d.pixels[image * features + (c * d.height + sy) * d.width + sx] : 0;
    T out = d.table[c * 256 + value];
    if (a.cut(py, px)) out = static_cast<T>(0.0f);  // zero after normalisation is the mean
    x.row(r)[at] = out;
    if (at == 0) labels[r] = d.classes[image];
  }
}

}  // namespace kernel
}  // namespace backend
}  // namespace polymoe
