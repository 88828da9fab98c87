// The first images of a data set as a model gets them, for what looks at a trained model.
#pragma once

#include <polymoe/analysis/mean_loss.hpp>
#include <polymoe/train/loader.hpp>

namespace paper_b {

/// Batches as the trainer gives them without augmentation; the last may be short.
struct batches {
  std::vector<std::vector<float>> pixels;
  std::vector<std::vector<std::int32_t>> labels;
  std::vector<polymoe::analysis::labelled_rows<float>> rows;  ///< of the two
};

/// The first `images` of at most as many as there are, `batch` at a time.
template <class Stream>
batches first_batches(const Stream& stream, const polymoe::dataset& from, polymoe::index images, polymoe::index batch) {
  polymoe::loader_options load;
  load.batch = batch, load.shuffle = false;
  polymoe::loader<float> source(from, load);
  batches all;
  for (polymoe::index b = 0; b * batch < images; ++b) {
    all.pixels.emplace_back(static_cast<std::size_t>(batch * from.features()));
    auto& labels = all.labels.emplace_back(static_cast<std::size_t>(batch));
    const polymoe::view<float> to(all.pixels.back().data(), batch, from.features());
    const polymoe::index rows = std::min(source.fill(stream, b, to, labels), images - b * batch);
    labels.resize(static_cast<std::size_t>(rows));
    all.rows.push_back({to.rows_at(0, rows), labels});
  }
  return all;
}

}  // namespace paper_b
