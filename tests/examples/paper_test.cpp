// timeout: 600
// Paper programs from the outside: killed or stopped in the middle of a seed they go on bit for bit; tables of several
// seeds; pages that say how they were made; pairs of arms that start alike; pictures and IDX files; a disk that is full
// keeps the last checkpoint.
#include <doctest/doctest.h>

#include <cstring>
#include <polymoe/train/png.hpp>

#include "paper_run.hpp"

namespace polymoe {
namespace {

TEST_CASE("paper: killed or stopped in the middle of a seed, a run goes on bit for bit; tables have all seeds") {
  if (!paper_is_here()) return;
  temp_folder t;
  const auto in = [&](const char* folder) {
    return with(small(t), {"--arms", "dense,learned_token", "--seeds", "1,2", "--out", t.file(folder)});
  };
  const outcome whole = run_paper(in("whole"));
  CAPTURE(whole.err);
  REQUIRE(whole.status == 0);
  for (const char* text : {"(2)", "learned_token - dense: ", "standard error", " up, ", "first expert switched"})
    CHECK_MESSAGE(has(whole.out, text), text);
  const std::string page = t.get("whole/report.html");
  for (const char* text : {"Mean, standard error and number of seeds", "paired over seeds", "95 % bootstrap",
                           "<h2>Experts", "<th>paper</th>", "+3.15 (ablation)", "<h2>Calibration and mistakes",
                           "Reliability: right answers", "dense, seed 1: test images by class and answer"})
    CHECK_MESSAGE(has(page, text), text);
  // How it was made: the command, the commit, the whole configuration.
  std::string command = "paper_d";
  for (const std::string& a : in("whole")) command += " " + a;
  CHECK(has(page, "<pre class=\"code\">" + escaped(command) + "</pre>"));
  const std::string commit = value_of_key(t.file("whole/dense/seed-1/result.json"), "commit");
  REQUIRE(commit.size() > 2);
  CHECK(has(page, "<p>Commit: " + commit.substr(1, commit.size() - 2) + "</p>"));
  CHECK_FALSE(has(page, "Kept from an earlier run"));
  const std::string config = t.get("whole/config.toml");
  CHECK(has(config, "\nseeds=[1, 2]\n"));
  CHECK(has(page, "<pre class=\"code\">" + escaped(config) + "</pre>"));
  const std::string figures = value_of_key(t.file("whole/learned_token/seed-2/result.json"), "figures");
  for (const char* figure : {"\"ece\":", "\"nll\":", "\"brier\":"}) CHECK_MESSAGE(has(figures, figure), figure);

  // Killed after two epochs of the second arm, then stopped by Ctrl-C in the second seed, then to the end.
  const std::string first = t.file("parts/learned_token/seed-1"), second = t.file("parts/learned_token/seed-2");
  const auto rows = [](const std::string& folder) { return lines_in(folder + "/epochs.csv"); };
  const outcome killed = run_program(
      paper_program(), in("parts"), [&] { return rows(first) >= 3; }, SIGKILL);
  CHECK(killed.status == 1000 + SIGKILL);
  CHECK_FALSE(file_exists(first + "/result.json"));
  const index at = step_of(first + "/checkpoint.safetensors");
  CHECK((at > 0 && at < 32 && at % 8 == 0));
  // The options as the program wrote them down.
  const std::vector<std::string> again{"--config", t.file("parts/config.toml"), "--resume"};
  const outcome stopped = run_program(
      paper_program(), again, [&] { return rows(second) >= 2; }, SIGINT);
  CAPTURE(stopped.err);
  CHECK(stopped.status == 130);
  CHECK(has(stopped.out, "dense, seed 1: already finished"));
  const outcome resumed = run_paper(again);
  CAPTURE(resumed.err);
  CHECK(resumed.status == 0);
  CHECK(has(resumed.out, "learned_token, seed 1: already finished"));
  for (const char* arm : {"/dense", "/learned_token"})
    for (const char* seed : {"/seed-1", "/seed-2"}) {
      const std::string a = t.file("whole") + arm + seed, b = t.file("parts") + arm + seed;
      CHECK(result_without_time(a + "/result.json") == result_without_time(b + "/result.json"));
      CHECK(lines_in(b + "/epochs.csv") == 5);
    }
  CHECK(result_without_time(t.file("whole/learned_token/seed-1/result.json")) !=
        result_without_time(t.file("whole/learned_token/seed-2/result.json")));
}

TEST_CASE("paper: a wrong key is named; a configuration that was written is read back; --plan writes nothing") {
  if (!paper_is_here()) return;
  temp_folder t;
  const outcome wrong =
      run_paper({"--config", t.put("wrong.toml", "epochs=1\nlearning-rat=0.1\n"), "--out", t.file("no")});
  CHECK(wrong.status == 2);
  CHECK_MESSAGE(has(wrong.err, "learning-rat"), wrong.err);
  CHECK_FALSE(file_exists(t.file("no")));
  const outcome negative = run_paper({"--seeds", "1,-1", "--out", t.file("no")});
  CHECK(negative.status == 2);
  CHECK_MESSAGE(has(negative.err, "-1 must not be negative"), negative.err);

  // Placements that the blocks have no room for, and a network that there is not.
  const auto refused = [&](const char* option, const char* value) {
    const outcome o = run_paper(with(small(t), {option, value, "--out", t.file("refused")}));
    CHECK(o.status == 1);
    return o.err;
  };
  CHECK(has(refused("--placement", "last-4"), "paper_d: placement last-4 does not fit 3 blocks"));
  CHECK(
      has(refused("--placement", "last-3"),
          "--placement last-3: of 3 blocks it takes 3; blocks behind one router are the last ones, last-1 to last-2"));
  CHECK(has(refused("--placement", "0+2"), "--placement 0+2: of 3 blocks it takes 2;"));
  CHECK(has(refused("--vit", "XL/4"), "paper_d: vit 'XL/4': expected Ti, S, B"));

  // More images than there are: it ends after it has written its configuration.
  const std::vector<std::string> ends{"--images", "1000000"};
  const outcome first = run_paper(with(small(t), with({"--out",
                                                       t.file("first"),
                                                       "--seeds",
                                                       "3,5",
                                                       "--milestones",
                                                       "0.25,0.5",
                                                       "--rand-augment",
                                                       "2,9.5",
                                                       "--smoothing",
                                                       "0.1",
                                                       "--cutout",
                                                       "8",
                                                       "--learning-rate",
                                                       "0.0123456789",
                                                       "--skip-bad",
                                                       "--split-seed",
                                                       "7",
                                                       "--arms",
                                                       "dense,oracle",
                                                       "--lambda",
                                                       "0.7"},
                                                      ends)));
  CHECK(first.status == 1);
  CHECK(has(first.err, "--images 1000000: 128 are left beside 32 for validation"));
  const outcome second = run_paper({"--config", t.file("first/config.toml"), "--out", t.file("second")});
  CHECK(second.status == 1);
  CHECK_MESSAGE(has(second.err, "--images 1000000: 128 are left beside 32 for validation"), second.err);
  std::string config = t.get("first/config.toml");
  for (const char* line : {"rand-augment=[2, 9.5]", "milestones=[0.25, 0.5]", "seeds=[3, 5]", "cutout=8",
                           "skip-bad=true", "split-seed=7", "learning-rate=0.0123456789"})
    CHECK_MESSAGE(has(config, line), config);
  config.replace(config.find(t.file("first")), t.file("first").size(), t.file("second"));
  CHECK(t.get("second/config.toml") == config);

  const outcome plan = run_paper(with(small(t), {"--plan", "--out", t.file("planned"), "--seeds", "1,2,3"}));
  CAPTURE(plan.err);
  CHECK(plan.status == 0);
  CHECK(has(plan.out, "Predicted: "));
  CHECK_MESSAGE(has(plan.out, "for 7 arms x 3 seeds x 4 epochs of 128 images"), plan.out);
  CHECK_FALSE(file_exists(t.file("planned")));
}

TEST_CASE("paper: arms of one seed start from the same numbers and see the same images in the same order") {
  if (!paper_is_here()) return;
  temp_folder t;
  // The rate is nothing as a float. So parameters stay what they were drawn as, and the running statistics of the batch
  // norms are those of the images, in their order: without experts before the head they depend on nothing else.
  const outcome run = run_program(resnet_program(), {"--data",          cifar_in(t), "--validation",   "32",
                                                     "--batch",         "16",        "--base",         "4",
                                                     "--epochs",        "1",         "--threads",      "1",
                                                     "--learning-rate", "1e-60",     "--weight-decay", "0",
                                                     "--seeds",         "1,2",       "--arms",         "dense,sparse",
                                                     "--augment",       "crop",      "--out",          t.file("out")},
                                  [] { return false; });
  CAPTURE(run.err);
  REQUIRE(run.status == 0);
  const auto file = [&](const char* arm, const char* seed) {
    return safetensors_file(t.file("out/") + arm + "/seed-" + seed + "/checkpoint.safetensors");
  };
  const safetensors_file dense = file("dense", "1"), sparse = file("sparse", "1"), other = file("sparse", "2");
  index parameters = 0, statistics = 0, unlike_other = 0;
  for (const tensor_ref& a : dense.tensors()) {
    if (has(a.name, "optimizer.") || has(a.name, "trainer.") || has(a.name, "head")) continue;
    CAPTURE(a.name);
    const tensor_ref &b = sparse.at(a.name), &c = other.at(a.name);
    REQUIRE(a.bytes() == b.bytes());
    const auto n = static_cast<std::size_t>(a.bytes());
    CHECK(std::memcmp(a.data, b.data, n) == 0);
    (has(a.name, "state.") ? statistics : parameters) += 1;
    unlike_other += std::memcmp(a.data, c.data, n) != 0;
  }
  CHECK(parameters > 40);
  CHECK(statistics >= 20);
  CHECK(unlike_other == 20 + 40);  // kernels, means and variances; norms begin alike, and as many images were counted
}

TEST_CASE("paper_b: killed in the middle of a run it goes on bit for bit") {
  if (!paper_is_here()) return;
  temp_folder t;
  const std::string data = cifar_in(t);
  const auto in = [&](const char* folder) {
    return std::vector<std::string>{"--data",
                                    data,
                                    "--validation",
                                    "32",
                                    "--batch",
                                    "16",
                                    "--base",
                                    "4",
                                    "--epochs",
                                    "4",
                                    "--threads",
                                    "1",
                                    "--arms",
                                    "sparse",
                                    "--learning-rate",
                                    "0.05",
                                    "--hessian-images",
                                    "20",
                                    "--hessian-products",
                                    "6",
                                    "--hessian-pairs",
                                    "1",
                                    "--hessian-at-loss",
                                    "100",
                                    "--trace-probes",
                                    "2",
                                    "--out",
                                    t.file(folder)};
  };
  const outcome whole = run_program(resnet_program(), in("whole"), [] { return false; });
  CAPTURE(whole.err);
  REQUIRE(whole.status == 0);
  const std::string page = t.get("whole/report.html");
  for (const char* text :
       {"<th>sparse, paper</th>", "<td>0.722</td>", "sparse, paper: 4.206 at -0.3", "sparse, paper: 0.786 at 2"})
    CHECK_MESSAGE(has(page, text), text);
  // The gate's noise in evaluation moves what was drawn, and nothing else.
  const std::string kept = t.file("whole/sparse/seed-1/result.json");
  for (const auto& [noisy, clean] : {std::pair{"noisy_test_loss", "test_loss"},
                                     {"noisy_best_test_loss", "best_test_loss"},
                                     {"noisy_entropy", "entropy"},
                                     {"test.lambda_noisy", "test.lambda"},
                                     {"train.lambda_noisy", "train.lambda"}}) {
    CAPTURE(noisy);
    CHECK((figure_of(kept, noisy) > 0 && figure_of(kept, noisy) != figure_of(kept, clean)));
  }
  CHECK(figure_of(kept, "noisy_test_loss") == doctest::Approx(figure_of(kept, "test_loss")).epsilon(0.2));
  CHECK(figure_of(kept, "noisy_test_spread") >= 0);
  CHECK(figure_of(kept, "best_train_epoch") >= 1);
  // One batch of 16 and one of 4.
  CHECK(figure_of(kept, "train.hessian_images") == 20);
  CHECK(figure_of(kept, "test.hessian_images") == 20);
  // The weights that were kept are those of the first of the best epochs; the test of the last one is its own.
  const index epoch = static_cast<index>(figure_of(kept, "best_validation_epoch"));
  CHECK(step_of(t.file("whole/sparse/seed-1/best.safetensors")) == 8 * epoch);
  if (epoch == 4)
    CHECK(figure_of(kept, "best_test_loss") == figure_of(kept, "test_loss"));
  else
    CHECK(figure_of(kept, "best_test_loss") != figure_of(kept, "test_loss"));
  const std::string arm = t.file("parts/sparse/seed-1");
  const outcome killed = run_program(
      resnet_program(), in("parts"), [&] { return lines_in(arm + "/epochs.csv") >= 3; }, SIGKILL);
  CHECK(killed.status == 1000 + SIGKILL);
  CHECK_FALSE(file_exists(arm + "/result.json"));
  const index at = step_of(arm + "/checkpoint.safetensors");
  CHECK((at > 0 && at < 32 && at % 8 == 0));
  const outcome resumed = run_program(resnet_program(), with(in("parts"), {"--resume"}), [] { return false; });
  CAPTURE(resumed.err);
  CHECK(resumed.status == 0);
  CHECK(result_without_time(arm + "/result.json") == result_without_time(t.file("whole/sparse/seed-1/result.json")));
  CHECK(lines_in(arm + "/epochs.csv") == 5);
}

TEST_CASE("paper: folders of pictures, one of them bad, and IDX files are data sets too") {
  if (!paper_is_here()) return;
  temp_folder t;
  const auto picture = [](index kind, index i) {
    std::vector<std::uint8_t> p(20 * 24 * 3);
    for (std::size_t k = 0; k < p.size(); ++k)
      p[k] = static_cast<std::uint8_t>(90 * kind + static_cast<index>(k) * (i + 3) % 61);
    return encode_png(p, 20, 24, 3);
  };
  for (const std::string part : {"train", "val"})
    for (index c = 0; c < 2; ++c) {
      const std::string folder = "pictures/" + part + "/class" + std::to_string(c);
      std::filesystem::create_directories(t.file(folder));
      for (index i = 0; i < (part == "train" ? 20 : 8); ++i)
        t.put(folder + "/" + std::to_string(i) + ".png", picture(c, i));
    }
  const std::string bad = t.put("pictures/train/class1/bad.png", picture(1, 1).substr(0, 200));
  const std::vector<std::string> options{"--data",       t.file("pictures"),
                                         "--image-size", "16",
                                         "--validation", "8",
                                         "--batch",      "8",
                                         "--dim",        "24",
                                         "--depth",      "3",
                                         "--patch",      "8",
                                         "--experts",    "2",
                                         "--threads",    "2",
                                         "--epochs",     "1",
                                         "--arms",       "dense"};
  const outcome refused = run_paper(with(options, {"--out", t.file("refused")}));
  CHECK(refused.status == 1);
  CHECK_MESSAGE(has(refused.err, "paper_d: " + bad + ": "), refused.err);
  const outcome skipped = run_paper(with(options, {"--skip-bad", "--out", t.file("skipped")}));
  CAPTURE(skipped.err);
  REQUIRE(skipped.status == 0);
  CHECK_MESSAGE(has(skipped.out, "32 training, 8 validation, 16 test images"), skipped.out);
  CHECK(has(value_of_key(t.file("skipped/dense/seed-1/result.json"), "figures"), "\"skipped_images\":1"));
  const outcome streamed = run_paper(with(options, {"--skip-bad", "--stream", "--out", t.file("streamed")}));
  CAPTURE(streamed.err);
  REQUIRE(streamed.status == 0);
  CHECK(result_without_time(t.file("streamed/dense/seed-1/result.json")) ==
        result_without_time(t.file("skipped/dense/seed-1/result.json")));
  const std::string page = t.get("skipped/report.html");
  CHECK(has(page, "1 pictures could not be read and were left out"));
  CHECK(has(page, escaped(bad)));
  CHECK(has(value_of_key(t.file("skipped/dense/seed-1/result.json"), "identity"),
            "image size 16, bad pictures left out"));
  std::filesystem::rename(t.file("pictures/val/class1"), t.file("pictures/val/other"));
  const outcome unlike = run_paper(with(options, {"--skip-bad", "--plan"}));
  CHECK(unlike.status == 1);
  CHECK_MESSAGE(has(unlike.err, ": class 1 of train/ is class1, of val/ other"), unlike.err);

  const auto idx = [](std::initializer_list<int> sizes, int step) {
    std::string bytes{0, 0, 8, static_cast<char>(sizes.size())};
    index values = 1;
    for (const int n : sizes)
      bytes += std::string(2, '\0') + static_cast<char>(n >> 8) + static_cast<char>(n & 255), values *= n;
    for (index i = 0; i < values; ++i) bytes += static_cast<char>(sizes.size() == 1 ? i % 3 : i * step % 251);
    return bytes;
  };
  std::filesystem::create_directory(t.file("idx"));
  t.put("idx/train-images-idx3-ubyte", idx({40, 16, 16}, 7)), t.put("idx/train-labels-idx1-ubyte", idx({40}, 1));
  t.put("idx/t10k-images-idx3-ubyte", idx({16, 16, 16}, 5)), t.put("idx/t10k-labels-idx1-ubyte", idx({16}, 1));
  std::vector<std::string> of_idx = with(options, {"--plan"});
  of_idx[1] = t.file("idx");
  const outcome planned = run_paper(of_idx);
  CAPTURE(planned.err);
  CHECK(planned.status == 0);
  CHECK_MESSAGE(has(planned.out, "IDX files of " + t.file("idx") + ", 32 training, 8 validation, 16 test images"),
                planned.out);
}

TEST_CASE("paper: a full disk is an error that names the file, and the last checkpoint stays") {
  if (!paper_is_here()) return;
  temp_folder t;
  const auto options = with(small(t), {"--arms", "learned_token", "--out", t.file("full")});
  const std::string folder = t.file("full/learned_token/seed-1"), checkpoint = folder + "/checkpoint.safetensors";
  const outcome stopped = run_program(paper_program(), options, [&] { return lines_in(folder + "/epochs.csv") >= 2; });
  CHECK(stopped.status == 130);
  const std::string before = read_text(checkpoint);
  REQUIRE(before.size() > 200000);
  const outcome full = run_program(
      paper_program(), with(options, {"--resume"}), [] { return false; }, SIGINT, 200000);
  CAPTURE(full.err);
  CHECK(full.status == 1);
  CHECK(has(full.err, "paper_d: " + checkpoint + ": cannot write at byte 200000 ("));
  CHECK(has(full.err, "File too large"));
  CHECK(read_text(checkpoint) == before);
  for (const auto& e : std::filesystem::directory_iterator(folder)) CHECK_FALSE(has(e.path().string(), ".tmp"));
  const outcome resumed = run_paper(with(options, {"--resume"}));
  CAPTURE(resumed.err);
  CHECK(resumed.status == 0);
  const outcome whole = run_paper(with(small(t), {"--arms", "learned_token", "--out", t.file("whole")}));
  CHECK(whole.status == 0);
  CHECK(result_without_time(folder + "/result.json") ==
        result_without_time(t.file("whole/learned_token/seed-1/result.json")));

  const outcome taken = run_paper(with(small(t), {"--out", t.put("file", "x") + "/below"}));
  CHECK(taken.status == 1);
  CHECK(has(taken.err, "paper_d: cannot create the folder " + t.file("file/below")));
}

TEST_CASE("paper_c says what its transport plans cost, by the layer and by each solver") {
  if (!paper_is_here()) return;
  temp_folder t;
  const outcome o = run_program(
      routers_program(),
      {"--images",    "96",         "--validation", "32",          "--test-images", "32",  "--epochs", "1",
       "--batch",     "32",         "--dim",        "24",          "--mlp",         "24",  "--depth",  "2",
       "--placement", "last-odd-1", "--patch",      "8",           "--experts",     "4",   "--shots",  "1",
       "--threads",   "1",          "--arms",       "sparse_ec_1", "--device",      "cpu", "--out",    t.file("out")},
      [] { return false; });
  REQUIRE_MESSAGE(o.status == 0, o.err);
  const std::string figures = value_of_key(t.file("out/sparse_ec_1/seed-1/result.json"), "figures");
  const auto figure = [&](const std::string& solver, const std::string& name) {
    const std::string key = "\"transport_" + solver + "_" + name + "\":";
    const std::size_t at = figures.find(key);
    REQUIRE_MESSAGE(at != std::string::npos, key, " is not in ", figures);
    return std::strtod(figures.c_str() + at + key.size(), nullptr);
  };
  // The layer's plans are the published iterations, in float.
  CHECK(figure("layer", "steps") == 20);
  CHECK(figure("layer", "dual") == doctest::Approx(figure("adam", "dual")).epsilon(1e-3));
  CHECK(figure("layer", "primal") == doctest::Approx(figure("adam", "primal")).epsilon(1e-2));
  CHECK(figure("adam", "unit_error") > 1e-3);
  CHECK(figure("newton", "unit_error") < 1e-3);
  for (const char* solver : {"layer", "adam", "lbfgs", "newton"}) {
    CHECK(figure("newton", "primal") >= figure(solver, "dual") - 1e-3);
    CHECK(figure(solver, "gap") ==
          doctest::Approx(figure(solver, "primal") - figure(solver, "dual")).epsilon(1e-6).scale(1));
    CHECK(figure(solver, "expert_error") < 1e-3);  // lines are experts, and exact
  }
  for (const char* line : {"sparse_ec_1, the layer", "sparse_ec_1, published iterations", "sparse_ec_1, L-BFGS",
                           "sparse_ec_1, Newton"}) {
    CHECK_MESSAGE(has(o.out, line), o.out);
    CHECK(has(read_text(t.file("out/report.html")), line));
  }
}

}  // namespace
}  // namespace polymoe
