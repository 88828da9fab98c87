// timeout: 600
// Arms of the paper programs from the outside: those of equal time, also when they are killed; values that are swept;
// super-classes by meaning, the router's class token, dense twins.
#include <doctest/doctest.h>

#include <sstream>

#include "paper_run.hpp"

namespace polymoe {
namespace {

TEST_CASE("paper_c: arms of equal time take the steps that were measured, also when they are killed and resumed") {
  if (!paper_is_here()) return;
  temp_folder t;
  const std::vector<std::string> options{"--data",    cifar_in(t), "--validation", "32", "--batch",     "16",
                                         "--dim",     "24",        "--mlp",        "24", "--depth",     "2",
                                         "--patch",   "16",        "--experts",    "2",  "--placement", "last-odd-1",
                                         "--threads", "1",         "--epochs",     "1",  "--shots",     "1"};
  const auto run_routers = [](const std::vector<std::string>& more) {
    return run_program(routers_program(), more, [] { return false; });
  };
  const outcome unknown = run_routers(with(options, {"--equal-time", "nobody", "--out", t.file("no")}));
  CHECK(unknown.status == 1);
  CHECK_MESSAGE(
      has(unknown.err, "--equal-time nobody: neither a number of seconds nor an arm; there are dense, softmax_tc_1"),
      unknown.err);
  const outcome planned = run_routers(with(options, {"--equal-time", "20", "--plan", "--arms", "dense,soft_1"}));
  CHECK_MESSAGE(has(planned.out, "Arms of equal time besides: 20.0 s of steps each, 40.0 s for all"), planned.out);

  const auto whole = with(options, {"--equal-time", "dense", "--arms", "dense,softmax_ec_1", "--out", t.file("whole")});
  const outcome first = run_routers(whole);
  CAPTURE(first.err);
  REQUIRE(first.status == 0);
  const std::string page = t.get("whole/report.html"), numbers = t.get("whole/calibration.json");
  for (const char* text :
       {"<h2>At equal time", "training time over the wanted, %", "dense-timed", "softmax_ec_1-timed - dense-timed",
        "Validation accuracy over training time, at equal time, mean over seeds",
        "Validation accuracy over training time, mean over seeds"})
    CHECK_MESSAGE(has(page, text), text);
  const auto steps_of = [&](const std::string& folder, const char* arm) {
    return static_cast<index>(figure_of(t.file(folder) + "/" + arm + "/seed-1/result.json", "steps"));
  };
  // One line an arm: accuracy, steps and seconds of both.
  const std::size_t both = first.out.find("Accuracy at equal steps and at equal time");
  REQUIRE(both != std::string::npos);
  std::istringstream lines(first.out.substr(both));
  index found = 0;
  for (std::string line; std::getline(lines, line) && !line.empty();) {
    std::istringstream words(line);
    std::string arm;
    double accuracy[2], steps[2], seconds[2];
    if (!(words >> arm >> accuracy[0] >> steps[0] >> seconds[0] >> accuracy[1] >> steps[1] >> seconds[1])) continue;
    CAPTURE(arm);
    ++found;
    for (int i = 0; i < 2; ++i) {
      const std::string result = t.file("whole/" + arm + (i ? "-timed" : "") + "/seed-1/result.json");
      CHECK(std::abs(accuracy[i] - 100 * figure_of(result, "test_accuracy")) < 0.0051);
      CHECK(steps[i] == figure_of(result, "steps"));
      CHECK(std::abs(seconds[i] - figure_of(result, "train_seconds")) < 0.051);
    }
  }
  CHECK(found == 2);
  CHECK(steps_of("whole", "softmax_ec_1") == 8);
  CHECK(steps_of("whole", "dense-timed") == 8);
  for (const char* arm : {"dense", "softmax_ec_1"}) {
    const index steps = steps_of("whole", (std::string(arm) + "-timed").c_str());
    CHECK(steps >= 1);
    CHECK_MESSAGE(has(numbers, ",\"steps\":" + std::to_string(steps) + "}"), numbers);
  }

  // The numbers of a file count, whatever the machine does: 61 steps are seven epochs of 8 and a short one of 5.
  std::string told = numbers;
  const std::size_t at = told.find("\"steps\":", told.find("\"softmax_ec_1\"")) + 8;
  told.replace(at, told.find('}', at) - at, "61");
  for (const char* folder : {"one", "two"})
    std::filesystem::create_directory(t.file(folder)), t.put(folder + std::string("/calibration.json"), told);
  const auto timed = [&](const char* folder) {
    return with(options,
                {"--equal-time", "dense", "--arms", "softmax_ec_1-timed", "--resume", "--out", t.file(folder)});
  };
  REQUIRE(run_routers(timed("one")).status == 0);
  CHECK(t.get("one/calibration.json") == told);
  CHECK(steps_of("one", "softmax_ec_1-timed") == 61);
  const std::string a = t.file("one/softmax_ec_1-timed/seed-1"), b = t.file("two/softmax_ec_1-timed/seed-1");
  CHECK(lines_in(a + "/epochs.csv") == 9);
  CHECK(step_of(a + "/checkpoint.safetensors") == 61);
  const outcome killed = run_program(
      routers_program(), timed("two"), [&] { return lines_in(b + "/epochs.csv") >= 2; }, SIGKILL);
  CHECK(killed.status == 1000 + SIGKILL);
  const outcome resumed = run_routers(timed("two"));
  CAPTURE(resumed.err);
  CHECK(resumed.status == 0);
  CHECK(result_without_time(a + "/result.json") == result_without_time(b + "/result.json"));
  CHECK(lines_in(b + "/epochs.csv") == 9);
  auto other = timed("two");
  other[other.size() - 6] = "3.5";
  const outcome refused = run_routers(other);
  CHECK(refused.status == 1);
  CHECK_MESSAGE(
      (has(refused.err, "--equal-time dense; this run has") && has(refused.err, "--equal-time 3.5; choose another")),
      refused.err);
}

TEST_CASE("paper_d: values that are swept are arms beside one dense arm, with charts over them") {
  if (!paper_is_here()) return;
  temp_folder t;
  const std::vector<std::string> sweep{
      "--data",    cifar_in(t), "--validation", "32",  "--batch",      "16",
      "--dim",     "24",        "--depth",      "3",   "--patch",      "16",
      "--experts", "2,3",       "--k",          "1,2", "--clustering", "spectral,balanced",
      "--threads", "1",         "--epochs",     "1"};
  const outcome names = run_paper(with(sweep, {"--arms", "none", "--out", t.file("names")}));
  CHECK(names.status == 1);
  CHECK_MESSAGE(has(names.err,
                    "there are dense, dense_twin-k2, learned_token-e2-k1, learned_token-e2-k2, learned_token-e3-k1, "
                    "learned_token-e3-k2, "
                    "learned_image-e2-k1, learned_image-e2-k2, learned_image-e3-k1, learned_image-e3-k2, "
                    "super_class-e2-k1-spectral, super_class-e2-k1-balanced, super_class-e2-k2-spectral, "
                    "super_class-e2-k2-balanced, super_class-e3-k1-spectral, "),
                names.err);
  CHECK_MESSAGE(
      has(names.err,
          "random_class-e3-k2, oracle-e2-spectral, oracle-e2-balanced, oracle-e3-spectral, oracle-e3-balanced"),
      names.err);
  const outcome twice = run_paper(with(sweep, {"--experts", "3", "--out", t.file("twice")}));
  CHECK(twice.status == 1);
  CHECK_MESSAGE(has(twice.err, "learned_token-e3-k1: a value is given twice"), twice.err);

  const outcome run = run_paper(
      with(sweep, {"--arms", "dense,super_class-e2-k1-balanced,super_class-e3-k1-balanced", "--out", t.file("run")}));
  CAPTURE(run.err);
  REQUIRE(run.status == 0);
  const std::string page = t.get("run/report.html");
  for (const char* text :
       {"Test accuracy over experts E", "Gap to the dense arm over experts E", "Accuracy of the router over experts E",
        "super_class-k1-balanced: "})
    CHECK_MESSAGE(has(page, text), text);
  const auto classes_of = [&](const char* arm) {
    const std::string lists = value_of_key(t.file("run/") + arm + "/seed-1/result.json", "lists");
    const std::size_t from = lists.find("\"expert_of_class\":[");
    REQUIRE(from != std::string::npos);
    return lists.substr(from, lists.find(']', from) - from);
  };
  CHECK_FALSE(has(classes_of("super_class-e2-k1-balanced"), "2"));
  CHECK(has(classes_of("super_class-e3-k1-balanced"), "2"));
  CHECK(has(page, "What the paper says, and what was found here"));
  CHECK_MESSAGE(has(run.out, "Here super_class-e2-k1-balanced - dense: "), run.out);
}

TEST_CASE("paper_d: one by one, values stand beside the first ones of the others; one table has a row for every arm") {
  if (!paper_is_here()) return;
  temp_folder t;
  // In the paper's 6x64, so that what it reports of this network stands beside.
  const std::vector<std::string> sweep{"--data",      cifar_in(t),     "--validation", "32",
                                       "--batch",     "16",            "--vit",        "6x64/16",
                                       "--experts",   "10,3",          "--placement",  "last-2,last-1",
                                       "--k",         "1,4",           "--clustering", "spectral,modularity",
                                       "--threads",   "1",             "--epochs",     "1",
                                       "--sweep",     "one-by-one"};
  // Four experts of three are not asked for: k = 4 stands beside E = 10.
  const outcome names = run_paper(with(sweep, {"--arms", "super_class,none", "--out", t.file("names")}));
  CHECK(names.status == 1);
  CHECK_MESSAGE(
      has(names.err,
          "no arm 'none'; there are dense, dense_twin-l2-k4, learned_token-e10-l2-k1, learned_token-e10-l2-k4, "
          "learned_token-e10-l1-k1, learned_token-e3-l2-k1, learned_image-"),
      names.err);
  CHECK_MESSAGE(
      has(names.err, "oracle-e10-l2-spectral, oracle-e10-l2-modularity, oracle-e10-l1-spectral, oracle-e3-l2-spectral"),
      names.err);
  std::vector<std::string> every = with(sweep, {"--arms", "none", "--out", t.file("names")});
  *std::find(every.begin(), every.end(), "one-by-one") = "all";
  const outcome both = run_paper(every);
  CHECK_MESSAGE(has(both.err, "--k 4: there are only 3 experts"), both.err);

  const outcome run = run_paper(with(sweep, {"--arms", "dense,dense_twin,super_class", "--out", t.file("run")}));
  CAPTURE(run.err);
  REQUIRE(run.status == 0);
  const std::string page = t.get("run/report.html");
  for (const char* over : {"experts E", "blocks with experts L", "experts of an image k"})
    for (const char* chart : {"Test accuracy over ", "Gap to the dense arm over ", "Accuracy of the router over "})
      CHECK_MESSAGE(has(page, std::string(chart) + over), chart << over);
  CHECK(has(page, "Gap to the dense arm of equal compute over experts of an image k"));
  CHECK(has(page, "Test accuracy by clustering"));
  for (const char* published :
       {"<th>dense, paper</th>", "36.64 (ImageNet-1k)", "41.30 (ImageNet-1k)",
        "<td>59.51</td><td>62.90</td><td>+3.39</td>", "<td>36.64</td><td>41.30</td><td>+4.66</td>"})
    CHECK_MESSAGE(has(page, published), published);
  const auto text = [](const char* format, double x) {
    char digits[40];
    std::snprintf(digits, sizeof digits, format, x);
    return "<td>" + std::string(digits) + "</td>";
  };
  const auto figure = [&](const std::string& arm, const char* name) {
    return figure_of(t.file("run/") + arm + "/seed-1/result.json", name);
  };
  const double dense = figure("dense", "test_accuracy"), twin = figure("dense_twin-l2-k4", "test_accuracy");
  for (const auto& [arm, values, other, paper] :
       {std::tuple{"super_class-e10-l2-k1-spectral", "<td>10</td><td>2</td><td>1</td><td>spectral</td>", dense, true},
        {"super_class-e3-l2-k1-spectral", "<td>3</td><td>2</td><td>1</td><td>spectral</td>", dense, false},
        {"super_class-e10-l1-k1-spectral", "<td>10</td><td>1</td><td>1</td><td>spectral</td>", dense, false},
        {"super_class-e10-l2-k4-spectral", "<td>10</td><td>2</td><td>4</td><td>spectral</td>", twin, false},
        {"super_class-e10-l2-k1-modularity", "<td>10</td><td>2</td><td>1</td><td>modularity</td>", dense, true}}) {
    const double mine = figure(arm, "test_accuracy");
    const std::string row = "<tr><td>" + std::string(arm) + "</td>" + values + text("%.2f", 100 * mine) +
                            text("%+.2f", 100 * (mine - dense)) + text("%+.2f", 100 * (mine - other)) +
                            text("%.2f", 100 * figure(arm, "router_accuracy")) +
                            text("%.1f", 100 * figure(arm, "confusion_inside")) +
                            text("%.2f", 1e-6 * figure(arm, "macs")) + text("%.0f", figure(arm, "active_parameters")) +
                            "<td>" + (paper ? "+4.66 (ImageNet-1k)" : "") + "</td></tr>";
    CHECK_MESSAGE(has(page, row), row);
  }
}

TEST_CASE("paper_d: clusters of what classes mean, a class token for the router, more experts and their dense twin") {
  if (!paper_is_here()) return;
  temp_folder t;
  std::string groups = "# made up\n";
  const char* const names[] = {"airplane", "automobile", "bird",  "cat",  "deer",
                               "dog",      "frog",       "horse", "ship", "truck"};
  for (int c = 0; c < 10; ++c)
    groups += names[c] + std::string(": ") + (c % 3 == 0 ? "first\n" : c % 3 == 1 ? "second/a\n" : "second/b\n");
  const std::vector<std::string> options{"--data",
                                         cifar_in(t),
                                         "--validation",
                                         "32",
                                         "--batch",
                                         "16",
                                         "--dim",
                                         "24",
                                         "--depth",
                                         "3",
                                         "--patch",
                                         "16",
                                         "--experts",
                                         "4",
                                         "--k",
                                         "1,4",
                                         "--threads",
                                         "1",
                                         "--epochs",
                                         "1",
                                         "--router-input",
                                         "class-token",
                                         "--hierarchy",
                                         t.put("groups.txt", groups),
                                         "--clustering",
                                         "agglomerative"};
  const outcome run =
      run_paper(with(options, {"--arms", "dense,dense_twin-k4,learned_image-k4,semantic_class-k1,semantic_class-k4",
                               "--out", t.file("run")}));
  CAPTURE(run.err);
  REQUIRE(run.status == 0);
  CHECK(has(t.get("run/report.html"), "Gap to the dense arm of equal compute over experts of an image k"));
  const auto result_of = [&](const char* arm) { return t.file("run/") + arm + "/seed-1/result.json"; };
  CHECK(has(value_of_key(result_of("dense"), "identity"), ", class token, meanings of "));
  // Classes of one expert are of one group: there are three of them for four experts.
  std::vector<double> of;
  const std::string lists = value_of_key(result_of("semantic_class-k1"), "lists");
  const std::size_t from = lists.find("\"expert_of_class\":[") + 19;
  std::istringstream numbers(lists.substr(from, lists.find(']', from) - from));
  for (std::string x; std::getline(numbers, x, ',');) of.push_back(std::stod(x));
  REQUIRE(of.size() == 10);
  for (int c = 0; c < 10; ++c)
    for (int d = 0; d < 10; ++d)
      if (of[static_cast<std::size_t>(c)] == of[static_cast<std::size_t>(d)]) CHECK(c % 3 == d % 3);
  // Four experts for an image, and one MLP as wide as four: the same compute but for the router.
  const double four = figure_of(result_of("learned_image-k4"), "macs"),
               twin = figure_of(result_of("dense_twin-k4"), "macs"), dense = figure_of(result_of("dense"), "macs"),
               one = figure_of(result_of("semantic_class-k1"), "macs");
  CHECK(four == doctest::Approx(twin).epsilon(0.01));
  CHECK(one == doctest::Approx(dense).epsilon(0.01));
  CHECK(twin > 1.5 * dense);
  CHECK(figure_of(result_of("semantic_class-k1"), "confusion_inside") >= 0);

  const auto refused = [&](const std::string& text) {
    auto wrong = with(options, {"--arms", "dense,semantic_class-k1", "--out", t.file("no")});
    *(std::find(wrong.begin(), wrong.end(), "--hierarchy") + 1) = t.put("wrong.txt", text);
    return run_paper(wrong);
  };
  CHECK(has(refused(groups + "truck: first\n").err, "line 12: truck is there for the second time"));
  CHECK(
      has(refused(groups + "unicorn: first\n").err, "line 12: the data have 10 classes, and none of them is unicorn"));
  CHECK(has(refused(groups.substr(0, groups.rfind("truck"))).err, "of 10 classes truck is not there"));
  const outcome many = run_paper(with(options, {"--experts", "3", "--out", t.file("no")}));
  CHECK_MESSAGE(has(many.err, "--k 4: there are only 3 experts"), many.err);
}

}  // namespace
}  // namespace polymoe
