// A store whose images lie in memory: what loaders do with stores, without files and threads.
#pragma once

#include <polymoe/train/dataset.hpp>

namespace polymoe::inline v0 {

class memory_store final : public image_store {
 public:
  explicit memory_store(dataset d) : data_(std::move(d)) {}
  index size() const override { return data_.size(); }
  index features() const override { return data_.features(); }
  void read(index i, std::span<std::uint8_t> pixels) const override {
    if (i == bad) throw error("image " + std::to_string(i) + " is unreadable");
    data_.copy_image(i, pixels);
  }
  std::unique_ptr<image_queue> queue(std::vector<index> order, index ahead) const override {
    ++queues;
    last_ahead = ahead;
    return std::make_unique<in_order>(*this, std::move(order));
  }
  std::shared_ptr<const image_store> subset(std::span<const index> which) const override {
    return std::make_shared<memory_store>(data_.subset(which));
  }

  mutable int queues = 0;  ///< that were made
  mutable index last_ahead = 0;
  index bad = -1;  ///< an image that cannot be read

 private:
  struct in_order final : image_queue {
    in_order(const memory_store& from_, std::vector<index> order_) : from(from_), order(std::move(order_)) {}
    bool next(std::span<std::uint8_t> pixels, std::int32_t& label) override {
      if (at == order.size()) return false;
      const index i = order[at++];
      from.read(i, pixels);
      label = from.data_.labels[static_cast<std::size_t>(i)];
      return true;
    }
    const memory_store& from;
    std::vector<index> order;
    std::size_t at = 0;
  };
  dataset data_;
};

/// The same images, in a store.
inline dataset stored(const dataset& in_memory) {
  dataset d = in_memory;
  d.pixels.clear();
  d.store = std::make_shared<memory_store>(in_memory);
  return d;
}

}  // namespace polymoe
