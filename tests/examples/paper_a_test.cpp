// timeout: 600
// paper_a from the outside: dense twins have what they are twins of, gaps are differences of the results, heads over the
// images of a call, shares out of reach, and an arm whose temperature falls is killed and goes on bit for bit.
#include <doctest/doctest.h>

#include <sstream>

#include "paper_run.hpp"

namespace polymoe {
namespace {

std::vector<std::string> sweep_options(const temp_folder& t) {
  return {"--data", cifar_in(t), "--validation", "32", "--batch",  "16", "--width",   "16", "--blocks", "2",
          "--experts", "4",      "--hidden",     "16", "--threads", "1", "--device", "cpu"};
}
outcome run_sweep(const std::vector<std::string>& options) {
  return run_program(sweep_program(), options, [] { return false; });
}

TEST_CASE("paper_a: twins have what they are twins of, gaps are the results' differences, heads over calls") {
  if (!paper_is_here()) return;
  temp_folder t;
  const outcome o = run_sweep(with(sweep_options(t), {"--epochs", "2", "--placement", "every-1,last-1,head", "--arms",
                                                      "dense,dense_wide,dense_total,k2,head_k2,head_soft,head_batch",
                                                      "--out", t.file("out")}));
  REQUIRE_MESSAGE(o.status == 0, o.err);
  const auto figure = [&](const std::string& arm, const char* name) {
    return figure_of(t.file("out/" + arm + "/seed-1/result.json"), name);
  };
  const double dense = figure("dense-h16", "macs");
  for (const std::string where : {"-every-1", "-last-1"}) {
    CAPTURE(where);
    const std::string k2 = "k2-h16" + where;
    CHECK(figure(k2, "macs") == doctest::Approx(dense).epsilon(1e-3));
    CHECK(figure("dense_wide-h16" + where, "parameters") == doctest::Approx(figure(k2, "parameters")).epsilon(0.01));
    CHECK(figure("dense_wide-h16" + where, "macs") > dense * 1.2);
  }
  CHECK(figure("k2-h16-every-1", "rho_static") == doctest::Approx(2 * figure("k2-h16-last-1", "rho_static")).epsilon(1e-3));
  // The lines of k2 against dense, one a placement: width, both shares, gap in points.
  std::istringstream lines(o.out);
  std::vector<std::string> seen;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string arm, against;
    double width = 0, share = 0, active = 0, gap = 0;
    if (!(words >> arm >> against >> width >> share >> active >> gap) || arm != "k2" || against != "dense") continue;
    const std::string name = seen.empty() ? "k2-h16-every-1" : "k2-h16-last-1";
    CAPTURE(name);
    seen.push_back(name);
    CHECK(width == 16);
    CHECK(share == doctest::Approx(figure(name, "rho_static")).epsilon(2e-3));
    CHECK(active <= share);
    CHECK(gap == doctest::Approx(100 * (figure(name, "test_accuracy") - figure("dense-h16", "test_accuracy"))).epsilon(2e-3));
  }
  CHECK_MESSAGE(seen.size() == 2, o.out);
  // All slots of factor 1.25: a quarter more of what is routed.
  CHECK((figure("dense_total-h16-every-1", "macs") - dense) / (figure("k2-h16-every-1", "rho_static") * dense) ==
        doctest::Approx(0.25).epsilon(0.1));
  CHECK(figure("head_k2-h16", "drop_rate") > 0);
  CHECK(figure("head_soft-h16", "drop_rate") == 0);
  // An image's prediction does not depend on its call where nothing is shared among images.
  for (const char* name : {"accuracy_at_batch_1", "accuracy_at_batch_8"}) {
    CHECK(figure("head_soft-h16", name) == figure("head_soft-h16", "test_accuracy"));
    CHECK(std::isfinite(figure("head_batch-h16", name)));
  }
}

TEST_CASE("paper_a: a share that no width has is refused with both numbers") {
  if (!paper_is_here()) return;
  temp_folder t;
  const outcome o = run_sweep(with(sweep_options(t), {"--rho", "0.01", "--placement", "every-1", "--plan"}));
  CHECK(o.status == 1);
  CHECK_MESSAGE(has(o.err, "0.01"), o.err);
  CHECK_MESSAGE(has(o.err, "--rho, with --width 16"), o.err);
}

TEST_CASE("paper_a: an arm whose temperature falls is killed and goes on bit for bit") {
  if (!paper_is_here()) return;
  temp_folder t;
  const auto in = [&, options = sweep_options(t)](const char* folder) {
    return with(options, {"--epochs", "4", "--placement", "every-1", "--arms", "k2_floor", "--out", t.file(folder)});
  };
  REQUIRE(run_sweep(in("whole")).status == 0);
  const std::string arm = t.file("parts/k2_floor-h16/seed-1");
  const outcome killed = run_program(
      sweep_program(), in("parts"), [&] { return lines_in(arm + "/epochs.csv") >= 3; }, SIGKILL);
  CHECK(killed.status == 1000 + SIGKILL);
  CHECK_FALSE(file_exists(arm + "/result.json"));
  REQUIRE(run_sweep(with(in("parts"), {"--resume"})).status == 0);
  CHECK(result_without_time(arm + "/result.json") == result_without_time(t.file("whole/k2_floor-h16/seed-1/result.json")));
}

}  // namespace
}  // namespace polymoe
