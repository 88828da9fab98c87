// timeout: 600
// paper_a from the outside: dense twins have what they are twins of, gaps are differences of the results, k = 1 at the
// share of k = 2, what becomes of overflow, temperatures, heads over the images of a call, shares out of reach, and an
// arm whose temperature falls is killed and goes on bit for bit.
#include <doctest/doctest.h>

#include <sstream>

#include "paper_run.hpp"
#include "support/close_to.hpp"

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
  CHECK(figure("k2-h16-every-1", "rho_static") ==
        doctest::Approx(2 * figure("k2-h16-last-1", "rho_static")).epsilon(1e-3));
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
    CHECK(gap ==
          doctest::Approx(100 * (figure(name, "test_accuracy") - figure("dense-h16", "test_accuracy"))).epsilon(2e-3));
  }
  CHECK_MESSAGE(seen.size() == 2, o.out);
  // All slots of factor 1.25: a quarter more of what is routed.
  CHECK((figure("dense_total-h16-every-1", "macs") - dense) / (figure("k2-h16-every-1", "rho_static") * dense) ==
        moe_test::close_to(0.25, 0.1));
  CHECK(figure("head_k2-h16", "drop_rate") > 0);
  CHECK(figure("head_soft-h16", "drop_rate") == 0);
  // An image's prediction does not depend on its call where nothing is shared among images.
  for (const char* name : {"accuracy_at_batch_1", "accuracy_at_batch_8"}) {
    CHECK(figure("head_soft-h16", name) == figure("head_soft-h16", "test_accuracy"));
    CHECK(std::isfinite(figure("head_batch-h16", name)));
  }
}

/// What a table of the output has in the line that begins so, word by word.
std::vector<std::string> words_of_line(const std::string& out, const std::string& begin) {
  std::istringstream lines(out);
  std::vector<std::string> words;
  for (std::string line, word; std::getline(lines, line);) {
    if (!line.starts_with(begin + "  ")) continue;
    for (std::istringstream rest(line.substr(begin.size())); rest >> word;) words.push_back(word);
    break;
  }
  return words;
}
/// Validation accuracy at the end of every epoch.
std::vector<double> validation_of(const std::string& csv) {
  std::istringstream lines(read_text(csv));
  std::vector<double> all;
  std::string line, cell;
  std::getline(lines, line);
  const auto before =
      std::count(line.begin(), line.begin() + static_cast<std::ptrdiff_t>(line.find("validation_accuracy")), ',');
  while (std::getline(lines, line)) {
    std::istringstream cells(line);
    for (std::ptrdiff_t i = 0; i <= before; ++i) std::getline(cells, cell, ',');
    all.push_back(std::stod(cell));
  }
  return all;
}

TEST_CASE("paper_a: k = 1 at the share of k = 2, dense heads, overflow, temperatures, on the depthwise backbone") {
  if (!paper_is_here()) return;
  temp_folder t;
  const outcome o = run_sweep(
      with(sweep_options(t), {"--epochs", "2", "--backbone", "depthwise", "--placement", "every-1,head", "--arms",
                              "dense,k1,k1_free,k1_wide,k1_few,k2,k2_free,k2_identity,k2_linear_01,soft,soft_batch,"
                              "head_dense,head_dense_wide,head_dense_total,head_k1,head_k2",
                              "--out", t.file("out")}));
  REQUIRE_MESSAGE(o.status == 0, o.err);
  const auto file = [&](const std::string& arm, const char* name) {
    return t.file("out/" + arm + "-h16/seed-1/" + name);
  };
  const auto figure = [&](const std::string& arm, const char* name) {
    return figure_of(file(arm, "result.json"), name);
  };
  // The solver's: the active compute of two experts, and with fewer of them their parameters too.
  const double two = figure("k2", "macs"), parameters = figure("k2", "parameters");
  CHECK(figure("k1", "macs") < 0.95 * two);
  CHECK(figure("k1", "parameters") == parameters);
  CHECK(figure("k1_wide", "macs") == doctest::Approx(two).epsilon(0.02));  // widths are multiples of 8
  CHECK(figure("k1_wide", "parameters") > 1.2 * parameters);
  CHECK(figure("k1_few", "macs") == doctest::Approx(two).epsilon(0.02));
  CHECK(figure("k1_few", "parameters") == doctest::Approx(parameters).epsilon(0.1));
  for (const char* arm : {"k1", "k1_wide", "k1_few"}) CHECK(figure(arm, "rho_static") == figure("k2", "rho_static"));
  // Heads: of as much compute, of as many parameters, of more compute; the body is the dense arm's.
  CHECK(figure("head_dense", "macs") == doctest::Approx(figure("head_k2", "macs")).epsilon(1e-3));
  CHECK(figure("head_dense_wide", "parameters") == doctest::Approx(figure("head_k2", "parameters")).epsilon(0.02));
  CHECK(figure("head_dense_total", "macs") > figure("head_dense", "macs"));
  CHECK(figure("head_k1", "macs") < figure("head_k2", "macs"));
  CHECK(figure("head_k1", "parameters") == figure("head_k2", "parameters"));
  CHECK(figure("head_dense", "rho_static") < 0.1 * figure("k2", "rho_static"));
  // What finds no place is dropped, or its own expert: no compute either way.
  CHECK(figure("k1", "drop_rate") > 0);
  CHECK(figure("k1_free", "drop_rate") == 0);
  CHECK(figure("k2_identity", "drop_rate") == 0);
  CHECK(figure("k2_identity", "overflow_rate") > 0);
  CHECK(figure("k2", "overflow_rate") == 0);
  const double share = figure("k2_free", "rho_active"), idle = figure("k2_identity", "overflow_rate");
  CHECK(figure("k2_identity", "rho_active") ==
        doctest::Approx(share * (1 - idle) / (1 - share * idle)).epsilon(1e-9));
  const auto dropping = words_of_line(o.out, "k2_identity - k2");
  REQUIRE_MESSAGE(dropping.size() > 4, o.out);
  CHECK(std::stod(dropping[4]) ==
        doctest::Approx(100 * (figure("k2_identity", "test_accuracy") - figure("k2", "test_accuracy"))).epsilon(2e-3));
  // Slots that mix the batch have as many MACs as one expert for every image, and the mixing.
  CHECK(figure("soft_batch", "macs") > figure("k1", "macs"));
  CHECK(figure("soft", "macs") > 1.1 * two);
  for (const char* name : {"accuracy_at_batch_1", "accuracy_at_batch_8", "accuracy_at_batch_16"}) {
    CHECK(figure("soft", name) == figure("soft", "test_accuracy"));
    CHECK(figure("soft_batch", name) >= 0);
  }
  CHECK(std::isnan(figure("soft", "accuracy_at_batch_32")));
  // The temperature: its points over the constant one, at the best epoch and at the end.
  const auto falling = validation_of(file("k2_linear_01", "epochs.csv")),
             constant = validation_of(file("k2", "epochs.csv"));
  REQUIRE((falling.size() == 2 && constant.size() == 2));
  const double first = 100 * (falling[0] - constant[0]), last = 100 * (falling[1] - constant[1]);
  std::istringstream tables(
      o.out.substr(std::min(o.out.size(), o.out.find("Falling temperatures against the constant one"))));
  const auto words = words_of_line(std::string(std::istreambuf_iterator<char>(tables), {}), "k2_linear_01");
  REQUIRE_MESSAGE(words.size() > 5, o.out);
  CHECK(std::stod(words[1]) == doctest::Approx(std::max(first, last)).epsilon(2e-3));
  CHECK(std::stod(words[5]) == doctest::Approx(last).epsilon(2e-3));
  for (const char* pair : {"k2 - k1  ", "k2 - k1_wide", "k2 - k1_few", "head_k2 - head_k1", "k2, head_k2"})
    CHECK_MESSAGE(has(o.out, pair), pair);
}

TEST_CASE("paper_a: docs/experiments.md has every arm") {
  if (!paper_is_here()) return;
  temp_folder t;
  const outcome o = run_sweep(with(sweep_options(t), {"--arms", "nobody", "--out", t.file("no")}));
  CHECK(o.status == 1);
  const std::string begin = "there is no arm 'nobody'; there are ", page = read_text("docs/experiments.md");
  const std::size_t at = o.err.find(begin);
  REQUIRE_MESSAGE(at != std::string::npos, o.err);
  std::istringstream names(o.err.substr(at + begin.size()));
  index arms = 0;
  for (std::string name; names >> name; ++arms) {
    const std::size_t width = name.rfind("-h16");
    REQUIRE_MESSAGE(width != std::string::npos, name);
    CHECK_MESSAGE(has(page, "`" + name.substr(0, width) + "`"), name);
  }
  CHECK(arms > 20);
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
  CHECK(result_without_time(arm + "/result.json") ==
        result_without_time(t.file("whole/k2_floor-h16/seed-1/result.json")));
}

}  // namespace
}  // namespace polymoe
