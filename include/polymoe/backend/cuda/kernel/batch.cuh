// A batch of training images made on the device: gathered, augmented, normalised, mixed; and the small kernels around a
// step.
//
// Images lie in device memory, all of them or those of the next steps, and beside them how every batch is mixed.  Which
// ones are a step's follows from the step in device memory, so that a captured training step finds
// its images when it is replayed.
#pragma once

#include "../../../core/context.hpp"
#include "../../../train/mix.hpp"
#include "../../../train/rand_augment.hpp"
#include "../device.cuh"

namespace polymoe::inline v0 {
namespace backend {

/// Images in device memory, and how batches are made of them.  Whole data sets have a row per image and the orders of
/// two epochs; streamed ones a row per image of the `slots` batches that are there, in the order they are used.
template <class T>
struct device_images {
  const std::uint8_t* pixels = nullptr;   ///< [rows, C, H, W]
  const std::int32_t* classes = nullptr;  ///< [rows]
  const std::int32_t* order =
      nullptr;  ///< the image's number: [2, N], even and odd epochs, or streamed [slots * batch]
  const T* table = nullptr;               ///< [C, 256] normalised values of a pixel
  index channels = 0, height = 0, width = 0, images = 0, batch = 0;
  index slots = 0;                        ///< 0: the whole data set is there
  index batches = 0;                      ///< of an epoch
  augment_options augment{};
  std::uint64_t seed = 0;
  const batch_mix* mix = nullptr;  ///< [2, batches], even and odd epochs, or streamed [slots]; null: none is mixed
  const rand_augment::amounts* operations = nullptr;  ///< [operation, sign] of RandAugment
  std::uint8_t* bytes = nullptr;  ///< [batch, 2, C, H, W]: images RandAugment is at, in turns; null: there is none

  POLYMOE_HD index features() const { return channels * height * width; }
  /// The byte at (y, x) of channel c of image `row`, shifted and mirrored.
  POLYMOE_HD std::uint8_t shifted(const augmentation& a, index row, index c, index y, index x) const {
    const index sy = v0::detail::source_pixel(y + a.dy, height, augment.outside);
    const index sx = v0::detail::source_pixel((a.mirrored ? width - 1 - x : x) + a.dx, width, augment.outside);
    return sy >= 0 && sx >= 0 ? pixels[row * features() + (c * height + sy) * width + sx] : std::uint8_t{0};
  }
};
/// Which batch: named by the host, or that of the step in device memory.
struct batch_choice {
  index batch = 0;            ///< of the epoch; where images are streamed, the slot
  std::uint64_t epoch = 0;
  index steps_per_epoch = 0;  ///< above 0: epoch and batch follow from the step
  index accumulate = 1;       ///< micro-batches of a step
};
/// Labels of a batch: of its images; where images are mixed also of their partners, and the share of the first ones.
struct batch_labels {
  std::int32_t *first = nullptr, *second = nullptr;
  double* own = nullptr;
};

namespace kernel {

inline constexpr int batch_threads = 256;

/// The chosen batch in the lists that lie in device memory.
template <class T>
struct listed_batch {
  std::uint64_t epoch = 0;
  index first = 0;  ///< of `order`: its first image
  index mix = 0;    ///< of `mix`
  POLYMOE_HD listed_batch(const device_images<T>& d, batch_choice which, const step_state* step) {
    if (which.steps_per_epoch > 0) {
      const step_state s = step ? *step : step_state{};
      which.epoch = static_cast<std::uint64_t>(s.step / which.steps_per_epoch);
      which.batch = d.slots > 0 ? (s.step * which.accumulate + s.micro) % d.slots
                                : s.step % which.steps_per_epoch * which.accumulate + s.micro;
    }
    epoch = which.epoch;
    const index half = d.slots > 0 ? 0 : static_cast<index>(epoch % 2);
    first = which.batch * d.batch + half * d.images, mix = which.batch + half * d.batches;
  }
  /// The number of the batch's image r, and the row of `pixels` and `classes` it lies in.
  POLYMOE_HD index image(const device_images<T>& d, index r) const { return d.order[first + r]; }
  POLYMOE_HD index row(const device_images<T>& d, index r) const { return d.slots > 0 ? first + r : image(d, r); }
};

/// What the threads of a block share while they change an image.
struct operation_memory {
  index sum;
  int counts[256];  ///< pixels of a level; or the lowest and the highest level
  std::uint8_t table[256];
};
/// f(y, x) for the pixels of an image: lines by the block's warps.
template <int Threads, class F>
POLYMOE_DEVICE void each_pixel(const rand_augment::image_size& s, F f) {
  for (index y = device::warp(); y < s.height; y += Threads / 32)
    for (index x = device::lane(); x < s.width; x += 32) f(y, x);
}
/// One operation of RandAugment from `in` to `out` by the threads of a block, who have waited for each other before and
/// do so after it.
template <int Threads>
POLYMOE_DEVICE void change_image(const rand_augment::amounts& a, const std::uint8_t* in, std::uint8_t* out,
                                 const rand_augment::image_size& s, operation_memory& m) {
  static_assert(Threads == 256, "polymoe: a thread for every level");
  namespace pixel = rand_augment::detail;
  using rand_augment::operation;
  const int me = device::thread_rank();
  const index plane = s.plane();
  if (!a.levels()) {
    each_pixel<Threads>(s, [&](index y, index x) { pixel::change_pixel(a, in, out, s, y, x); });
    device::sync_block();
    return;
  }
  index mean = 0;
  if (a.op == operation::contrast) {
    if (me == 0) m.sum = 0;
    device::sync_block();
    index mine = 0;
    for (index k = me; k < plane; k += Threads) mine += pixel::grey(in, s, k);
    device::atomic_add(&m.sum, mine);
    device::sync_block();
    mean = pixel::level_of(m.sum + plane / 2, plane);
  }
  for (index c = 0; c < s.channels; ++c, in += plane, out += plane) {
    std::uint8_t level = 0;
    if (a.op == operation::autocontrast) {
      if (me < 2) m.counts[me] = me == 0 ? 255 : 0;
      device::sync_block();
      int low = 255, high = 0;
      for (index k = me; k < plane; k += Threads) low = in[k] < low ? in[k] : low, high = in[k] > high ? in[k] : high;
      device::atomic_min(&m.counts[0], low);
      device::atomic_max(&m.counts[1], high);
      device::sync_block();
      level = pixel::stretched(me, m.counts[0], m.counts[1] - m.counts[0]);
    } else if (a.op == operation::equalize) {
      m.counts[me] = 0;
      device::sync_block();
      for (index k = me; k < plane; k += Threads) device::atomic_add(&m.counts[in[k]], 1);
      device::sync_block();
      index below = 0, brightest = 0;
      for (int v = 0; v < 256; ++v) {
        const int n = m.counts[v];
        below += v < me ? n : 0, brightest = n > 0 ? n : brightest;
      }
      level = pixel::flattened(me, plane, below, brightest);
    } else {
      level = pixel::changed_level(a, me, mean);
    }
    m.table[me] = level;
    device::sync_block();
    for (index k = me; k < plane; k += Threads) out[k] = m.table[in[k]];
    device::sync_block();
  }
}

/// The n images of a batch, shifted, mirrored and changed, to half `rand_operations % 2` of their rows of `bytes`.  A
/// block an image; shared memory: operation_memory.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(batch_threads)
    rand_augment_kernel(const POLYMOE_GRID_CONSTANT device_images<T> d, batch_choice which, const step_state* step,
                        index n) {
  const listed_batch<T> b(d, which, step);
  const index features = d.features();
  const rand_augment::image_size size{d.channels, d.height, d.width};
  operation_memory& memory = *device::shared<operation_memory>();
  for (index r = device::block_rank(); r < n; r += device::grid_size().volume()) {
    const index image = b.image(d, r), row = b.row(d, r);
    const auto a = augmentation::draw(d.augment, {d.seed}, b.epoch, image, d.height, d.width);
    std::uint8_t *from = d.bytes + 2 * r * features, *to = from + features;
    each_pixel<batch_threads>(size, [&](index y, index x) {
      for (index c = 0; c < d.channels; ++c) from[(c * d.height + y) * d.width + x] = d.shifted(a, row, c, y, x);
    });
    device::sync_block();
    for (int j = 0; j < d.augment.rand_operations; ++j) {
      const auto c = rand_augment::choice::draw({d.seed}, b.epoch, image, j);
      change_image<batch_threads>(d.operations[2 * static_cast<int>(c.op) + c.negative], from, to, size,
                                  memory);
      std::uint8_t* const done = to;
      to = from, from = done;
    }
  }
}

/// x[r] = r-th image of the batch, mixed with the next one where batches are mixed, and its labels; n rows.
template <class T>
POLYMOE_KERNEL void POLYMOE_LAUNCH_BOUNDS(batch_threads)
    fill_batch_kernel(const POLYMOE_GRID_CONSTANT device_images<T> d, batch_choice which, const step_state* step,
                      index n, view<T> x, batch_labels labels) {
  using C = compute_t<T>;
  const listed_batch<T> b(d, which, step);
  const index features = d.features(), plane = d.height * d.width;
  batch_mix mix;
  if (d.mix) mix = d.mix[b.mix];
  const C own = static_cast<C>(mix.own), rest = static_cast<C>(1 - mix.own);
  for (index i = device::block_rank() * batch_threads + device::thread_rank(); i < n * features;
       i += device::grid_size().volume() * batch_threads) {
    const index r = i / features, at = i % features, c = at / plane, py = at % plane / d.width, px = at % d.width;
    const index partner = batch_mix::partner(r, n);
    // Of the batch's image k, without the others.
    const auto value = [&](index k) {
      const auto a = augmentation::draw(d.augment, {d.seed}, b.epoch, b.image(d, k), d.height, d.width);
      if (a.cut(py, px)) return static_cast<T>(0.0f);  // zero after normalisation is the mean
      const int byte = d.bytes ? d.bytes[(2 * k + d.augment.rand_operations % 2) * features + at]
                               : d.shifted(a, b.row(d, k), c, py, px);
      return d.table[c * 256 + byte];
    };
    const bool pasted = mix.how == batch_mix::kind::cutmix && mix.pasted(py, px);
    T out = value(pasted ? partner : r);
    if (mix.how == batch_mix::kind::mixup)
      out = static_cast<T>(own * static_cast<C>(out) + rest * static_cast<C>(value(partner)));
    x.row(r)[at] = out;
    if (at > 0) continue;
    labels.first[r] = d.classes[b.row(d, r)];
    if (d.mix) labels.second[r] = d.classes[b.row(d, partner)];
    if (d.mix && r == 0) *labels.own = mix.own;
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
/// Copies the pieces to the record of the step in device memory: `slots` records of `bytes` bytes, the part at
/// `offset`. One block a piece.
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
