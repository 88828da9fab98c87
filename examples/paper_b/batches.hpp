// The first images of a data set as a model gets them, for what looks at a trained model.
#pragma once

#include <polymoe/analysis/mean_loss.hpp>
#include <polymoe/train/loader.hpp>

namespace paper_b {

/// Batches of equal size, as the trainer gives them without augmentation; a short last one is left out.
struct batches {
  std::vector<std::vector<float>> pixels;
  std::vector<std::vector<std::int32_t>> labels;
  std::vector<polymoe::analysis::labelled_rows<float>> rows;  ///< of the two
};

template <class Stream>
batches first_batches(const Stream& stream, const polymoe::dataset& from, polymoe::index images, polymoe::index batch) {
  polymoe::loader_options load;
  load.batch = batch, load.shuffle = false, load.drop_last = true;
  polymoe::loader<float> source(from, load);
  const polymoe::index count = std::min(source.batches(), images / batch);
  batches all;
  for (polymoe::index b = 0; b < count; ++b) {
    all.pixels.emplace_back(static_cast<std::size_t>(batch * from.features()));
    all.labels.emplace_back(static_cast<std::size_t>(batch));
    const polymoe::view<float> to(all.pixels.back().data(), batch, from.features());
    source.fill(stream, b, to, all.labels.back());
    all.rows.push_back({to, all.labels.back()});
  }
  return all;
}

}  // namespace paper_b
