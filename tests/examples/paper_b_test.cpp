// timeout: 600
// paper_b from the outside: which epoch's parameters its Hessians are of, gates beside the published ones, when one
// whole model is faster than another, what --plan counts.
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <sstream>

#include "paper_run.hpp"

namespace polymoe {
namespace {

std::vector<std::string> heads_in(const temp_folder& t, const char* folder, const char* arms,
                                  const char* products = "4") {
  return {"--data",
          cifar_in(t),
          "--validation",
          "32",
          "--batch",
          "16",
          "--base",
          "4",
          "--threads",
          "1",
          "--learning-rate",
          "0.02",
          "--device",
          "cpu",
          "--arms",
          arms,
          "--hessian-pairs",
          "1",
          "--out",
          t.file(folder),
          "--trace-probes",
          "2",
          "--hessian-products",
          products};
}
outcome run_heads(const std::vector<std::string>& arguments) {
  return run_program(resnet_program(), arguments, [] { return false; });
}
/// The member "break_even" of a summary.json: the arm and what it is against, of each entry, and its numbers of
/// batches.
std::vector<std::string> pairs_of(const std::string& path, std::vector<std::size_t>& batches) {
  const std::string member = value_of_key(path, "break_even");
  json_reader r(member, path);
  std::vector<std::string> pairs;
  std::string key;
  for (r.begin_array(); r.next_element();)
    for (r.begin_object(); r.next_key(key);) {
      if (key == "arm") {
        pairs.push_back(r.string());
      } else if (key == "against") {
        pairs.back() += " " + r.string();
      } else if (key == "measured" || key == "modelled") {
        std::size_t n = 0;
        for (r.begin_array(); r.next_element(); ++n) CHECK(r.number() > 0);
        batches.push_back(n);
      } else {
        r.skip();
      }
    }
  r.end();
  return pairs;
}

TEST_CASE(
    "paper_b: gates, Hessians of the best epoch and at equal training loss, and break-even points of whole models") {
  if (!paper_is_here()) return;
  temp_folder t;
  const auto all = with(heads_in(t, "all", "dense,soft,sparse"),
                        {"--epochs", "3", "--hessian-images", "8", "--hessian-at-loss", "100", "--density-probes", "1",
                         "--landscape-images", "16", "--landscape-points", "2"});
  const outcome run = run_heads(all);
  CAPTURE(run.err);
  REQUIRE(run.status == 0);
  const auto kept = [&](const char* arm) { return t.file("all/") + arm + "/seed-1/result.json"; };
  for (const char* arm : {"dense", "soft", "sparse"}) {
    CAPTURE(arm);
    const std::string file = kept(arm);
    CHECK(figure_of(file, "look_epoch") == figure_of(file, "best_validation_epoch"));
    CHECK(figure_of(file, "equal.look_epoch") == 1);
    CHECK(figure_of(file, "equal.epoch_loss") == training_losses(file).at(0));
    CHECK(step_of(t.file("all/") + arm + "/seed-1/at_loss.safetensors") == 8);
    CHECK((figure_of(file, "equal.train.lambda") == figure_of(file, "train.lambda")) ==
          (figure_of(file, "best_validation_epoch") == 1));
    CHECK(list_of(file, "landscape.line_free").size() == 3);
    CHECK(list_of(file, "equal.landscape.line_free").empty());
    CHECK(list_of(file, "test.density").size() == 111);
    for (const std::string part : {"train", "test"}) {
      const auto free = list_of(file, part + ".loss_along"), frozen = list_of(file, part + ".loss_along_frozen");
      REQUIRE(free.size() == 21);
      CHECK(free[10] == doctest::Approx(figure_of(file, part + ".loss")).epsilon(1e-5));
      REQUIRE(frozen.size() == (arm == std::string("dense") ? 0 : 21));
      if (!frozen.empty()) CHECK(frozen[10] == doctest::Approx(free[10]).epsilon(1e-4));
    }
  }
  // Gates of an image sum to 1; those of a mixture are its load.
  for (const char* arm : {"soft", "sparse"}) {
    CAPTURE(arm);
    const auto gate = list_of(kept(arm), "class_gate"), images = list_of(kept(arm), "class_images"),
               load = list_of(kept(arm), "load");
    REQUIRE(gate.size() == 80);
    CHECK(std::accumulate(images.begin(), images.end(), 0.0) == 32);
    std::vector<double> mean(8, 0.0);
    for (std::size_t c = 0; c < 10; ++c) {
      CHECK(std::accumulate(gate.begin() + static_cast<std::ptrdiff_t>(8 * c),
                            gate.begin() + static_cast<std::ptrdiff_t>(8 * c + 8),
                            0.0) == doctest::Approx(1).epsilon(1e-5));
      for (std::size_t e = 0; e < 8; ++e) mean[e] += gate[8 * c + e] * images[c] / 32;
    }
    const double all_load = std::accumulate(load.begin(), load.end(), 0.0);
    for (std::size_t e = 0; e < 8 && arm == std::string("soft"); ++e)
      CHECK(mean[e] == doctest::Approx(load[e] / all_load).epsilon(1e-4));
  }
  CHECK(list_of(kept("dense"), "class_gate").empty());

  std::vector<std::size_t> batches;
  CHECK(pairs_of(t.file("all/summary.json"), batches) ==
        std::vector<std::string>{"sparse dense", "sparse soft", "soft dense"});
  CHECK(batches == std::vector<std::size_t>(6, 5));  // 1, 2, 4, 8, 16
  CHECK(has(t.get("all/summary.json"), "\"train.lambda\":{\"mean\":"));
  CHECK_MESSAGE(has(run.out, "sparse faster than dense, whole models, by batch: measured "), run.out);
  const std::string page = t.get("all/report.html");
  for (const char* text :
       {"<h2>Gates", "0.1574 (6)", "0.3260 (7)", "<td>3 (.43), then 4 (.39)</td>",
        "sparse: mean gate of a class, seed 1", "<h2>Sharpness<", "<h2>Sharpness at equal training loss",
        "epoch of these parameters", "by FLOPs and bytes", "<td>sparse faster than soft</td>",
        "here at about equal training loss", "test accuracy, best validation epoch"})
    CHECK_MESSAGE(has(page, text), text);

  // A limit between two epochs takes the first below it; the last epoch's Hessian is that of the last checkpoint.
  const std::vector<double> losses = training_losses(kept("dense"));
  REQUIRE(losses.size() == 3);
  const double limit = 0.5 * (losses[0] + *std::min_element(losses.begin() + 1, losses.end()));
  const auto below = std::find_if(losses.begin(), losses.end(), [=](double x) { return x < limit; });
  REQUIRE(below != losses.end());
  const auto two = with(heads_in(t, "two", "dense"), {"--epochs", "3", "--hessian-images", "8", "--hessian-of", "last",
                                                      "--hessian-at-loss", std::to_string(limit)});
  REQUIRE(run_heads(two).status == 0);
  const std::string second = t.file("two/dense/seed-1/result.json");
  const auto expected = static_cast<double>(below - losses.begin() + 1);
  CHECK(figure_of(second, "look_epoch") == 3);
  CHECK(figure_of(second, "equal.look_epoch") == expected);
  CHECK((figure_of(second, "equal.train.lambda") == figure_of(second, "train.lambda")) == (expected == 3));
  if (figure_of(kept("dense"), "best_validation_epoch") == 3)
    CHECK(figure_of(second, "train.lambda") == figure_of(kept("dense"), "train.lambda"));
  else
    CHECK(figure_of(second, "train.lambda") != figure_of(kept("dense"), "train.lambda"));

  // One epoch is the last, the best and the first below: one Hessian.
  const auto one =
      with(heads_in(t, "one", "dense"), {"--epochs", "1", "--hessian-images", "8", "--hessian-at-loss", "100"});
  REQUIRE(run_heads(one).status == 0);
  const std::string first = t.file("one/dense/seed-1/result.json");
  for (const std::string figure : {"train.lambda", "test.trace", "test.loss"})
    CHECK(figure_of(first, figure) == figure_of(first, "equal." + figure));
  const outcome never = run_heads(
      with(heads_in(t, "never", "dense"), {"--epochs", "1", "--hessian-images", "8", "--hessian-at-loss", "1e-9"}));
  REQUIRE(never.status == 0);
  CHECK_MESSAGE(has(never.out, "dense, seed 1: no epoch has a training loss below 1e-09"), never.out);
  CHECK_FALSE(has(t.get("never/report.html"), "Sharpness at equal training loss"));
}

TEST_CASE("paper_b: --plan counts what follows a training; options that do not go together are refused") {
  if (!paper_is_here()) return;
  temp_folder t;
  const auto seconds_after = [&](const char* hessian_images) {
    const outcome plan = run_heads(with(heads_in(t, "plan", "dense,sparse", "5000"),
                                        {"--epochs", "2", "--plan", "--hessian-images", hessian_images}));
    REQUIRE_MESSAGE(plan.status == 0, plan.err);
    CHECK_MESSAGE(has(plan.out, "with validation and test; what follows a training is in it."), plan.out);
    const std::size_t line = plan.out.find("\nsparse ");
    REQUIRE_MESSAGE(line != std::string::npos, plan.out);
    std::istringstream words(plan.out.substr(line));
    std::string name, unit;
    double train = 0, evaluate = 0, after = 0;
    words >> name >> train >> evaluate >> after >> unit;
    return after * (unit == "s" ? 1 : unit == "min" ? 60 : 3600);
  };
  const double without = seconds_after("0"), many = seconds_after("32");
  CHECK(without > 0);
  CHECK(many > 10 * without);  // 30,000 products with the noise, with the gate held and whole, of two parts
  CHECK_FALSE(file_exists(t.file("plan")));

  const outcome best = run_heads(with(heads_in(t, "no", "dense"), {"--best", "false", "--hessian-images", "16"}));
  CHECK(best.status == 1);
  CHECK_MESSAGE(
      has(best.err, "paper_b: --hessian-of best and --best false: the best epoch is not kept; take --hessian-of last"),
      best.err);
  const outcome none = run_heads(with(heads_in(t, "no", "dense"), {"--hessian-at-loss", "0.5"}));
  CHECK(none.status == 1);
  CHECK_MESSAGE(has(none.err, "paper_b: --hessian-at-loss is 0.5 and --hessian-images 0, at least 1 is needed"),
                none.err);
}

}  // namespace
}  // namespace polymoe
