// What --data of the paper programs gives: the split is drawn by its own seed and by nothing else of a run; its parts
// share no image and leave none out.
#include <doctest/doctest.h>

#include <experiment/data.cpp>
#include <set>

#include "paper_run.hpp"

namespace polymoe {
namespace {

using picture = std::vector<std::uint8_t>;

/// The images of a part, in their order.
std::vector<picture> pictures_of(const dataset& d) {
  std::vector<picture> all;
  for (index i = 0; i < d.size(); ++i) {
    picture p(static_cast<std::size_t>(d.features()));
    d.copy_image(i, p);
    all.push_back(p);
  }
  return all;
}
std::multiset<picture> without_order(const std::vector<picture>& all) { return {all.begin(), all.end()}; }

TEST_CASE("data: the split is the same for every run, disjoint and whole; another split seed gives another") {
  const temp_folder t;
  experiment::settings s;
  s.data = cifar_in(t), s.validation = 32;
  const std::vector<picture> files = pictures_of(read_cifar10(s.data).train);
  REQUIRE(std::set<picture>(files.begin(), files.end()).size() == 160);  // no two are alike
  const experiment::images one = experiment::read_images(s);
  const std::vector<picture> train = pictures_of(one.fit.train), validation = pictures_of(one.fit.test);
  CHECK(train.size() == 128);
  CHECK(validation.size() == 32);
  CHECK(one.test.size() == 32);
  std::vector<picture> both = train;
  both.insert(both.end(), validation.begin(), validation.end());
  CHECK(both != files);
  CHECK(without_order(both) == without_order(files));
  // All parts have the statistics of all images of the training files.
  for (const dataset* d : {&one.fit.train, &one.fit.test, &one.test}) CHECK(d->mean == read_cifar10(s.data).train.mean);

  // Seeds, arms and how much of it is trained on do not move it.
  s.seeds = {5, 6}, s.arms = {"dense"}, s.epochs = 3, s.images = 50, s.test_images = 7;
  const experiment::images other = experiment::read_images(s);
  CHECK(pictures_of(other.fit.test) == validation);
  CHECK(pictures_of(other.fit.train) == std::vector<picture>(train.begin(), train.begin() + 50));
  CHECK(other.test.size() == 7);
  s.images = 0, s.split_seed = 7;
  const experiment::images moved = experiment::read_images(s);
  CHECK(without_order(pictures_of(moved.fit.test)) != without_order(validation));
  both = pictures_of(moved.fit.train);
  for (const picture& p : pictures_of(moved.fit.test)) both.push_back(p);
  CHECK(without_order(both) == without_order(files));

  s.validation = 160;
  CHECK(message_of<error>([&] { experiment::read_images(s); }) ==
        "--validation 160: 160 training images are to be split");
}

}  // namespace
}  // namespace polymoe
