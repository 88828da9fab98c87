// A batch of training images made on the device: gathered, augmented, normalised; and the small kernels around a step.
//
// Images lie in device memory, all of them or those of the next steps.  Which ones are a step's follows from the step in
// device memory, so that a captured training step finds its images when it is replayed.
#pragma once

#include "../../../core/context.hpp"
#include "../../../train/augment.hpp"
#include "../device.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// Images in device memory, and how batches are made of them.  Whole data sets have a row per image and the orders of two
/// epochs; streamed ones a row per image of the `slots` batches that are there, in the order they are used.
template <class T>
struct device_images {
  const std::uint8_t* pixels = nullptr;   ///< [rows, C, H, W]
  const std::int32_t* classes = nullptr;  ///< [rows]
  const std::int32_t* order = nullptr;    ///< the image's number: [2, N], even and odd epochs, or streamed [slots * batch]
  const T* table = nullptr;               ///< [C, 256] normalised values of a pixel
  index channels = 0, height = 0, width = 0, images = 0, batch = 0;
  index slots = 0;                        ///< 0: the whole data set is there
  augment_options augment{};
  std::uint64_t seed = 0;
};
/// Which batch: named by the host, or that of the step in device memory.
struct batch_choice {
  index batch = 0;            ///< of the epoch; where images are streamed, the slot
  std::uint64_t epoch = 0;
  index steps_per_epoch = 0;  ///< above 0: epoch and batch follow from the step
  index accumulate = 1;       ///< micro-batches of a step
};

namespace kernel {

inline constexpr int batch_threads = 256;

/// x[r] = r-th image of the batch, labels[r] its class; n rows.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(batch_threads)
fill_batch_kernel(const POLYMOE_GRID_CONSTANT device_images<T> d, batch_choice which, const step_state* step, index n, view<T> x,
                  std::int32_t* labels) {
  if (which.steps_per_epoch > 0) {
    const step_state s = step ? *step : step_state{};
    which.epoch = static_cast<std::uint64_t>(s.step / which.steps_per_epoch);
    which.batch = d.slots > 0 ? (s.step * which.accumulate + s.micro) % d.slots
                              : s.step % which.steps_per_epoch * which.accumulate + s.micro;
  }
  const index features = d.channels * d.height * d.width, plane = d.height * d.width;
  const index first = which.batch * d.batch + (d.slots > 0 ? 0 : static_cast<index>(which.epoch % 2) * d.images);
  for (index i = device::block_rank() * batch_threads + device::thread_rank(); i < n * features;
       i += device::grid_size().volume() * batch_threads) {
    const index r = i / features, at = i % features, c = at / plane, py = at % plane / d.width, px = at % d.width;
    const index image = d.order[first + r], row = d.slots > 0 ? first + r : image;
    const auto a = augmentation::draw(d.augment, {d.seed}, which.epoch, image, d.height, d.width);
    const index sy = v0::detail::source_pixel(py + a.dy, d.height, d.augment.outside);
    const index sx = v0::detail::source_pixel((a.mirrored ? d.width - 1 - px : px) + a.dx, d.width, d.augment.outside);
    const bool inside = sy >= 0 && sx >= 0;
    const int value = inside ? d.pixels[row * features + (c * d.height + sy) * d.width + sx] : 0;
    T out = d.table[c * 256 + value];
    if (a.cut(py, px)) out = static_cast<T>(0.0f);  // zero after normalisation is the mean
    x.row(r)[at] = out;
    if (at == 0) labels[r] = d.classes[row];
  }
}

/// The next micro-batch of a step, whose other numbers stay.  One thread.
template <int>
POLYMOE_KERNEL void set_micro_kernel(step_state* step, index micro) {
  step->micro = micro;
}

/// A run of 4-byte words that a step leaves behind for the host.
struct record_piece {
  const void* from = nullptr;
  std::int32_t words = 0;
  std::int32_t to = 0;  ///< bytes behind the start of the record's part
};
inline constexpr int record_threads = 64;
/// Copies the pieces to the record of the step in device memory: `slots` records of `bytes` bytes, the part at `offset`.
/// One block a piece.
template <int Threads>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(Threads)
    record_kernel(const record_piece* pieces, std::byte* records, index slots, index bytes, index offset,
                  const step_state* step) {
  const record_piece p = pieces[device::block_rank()];
  const index slot = (step ? step->step : 0) % slots;
  auto* to = reinterpret_cast<std::uint32_t*>(records + slot * bytes + offset + p.to);
  const auto* from = static_cast<const std::uint32_t*>(p.from);
  for (int i = device::thread_rank(); i < p.words; i += Threads) to[i] = from[i];
}

}  // namespace kernel
}  // namespace backend
}  // namespace polymoe
