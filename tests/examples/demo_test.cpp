// timeout: 600
// demo_vit from the outside, as a user runs it: a short run leaves every file; 1 and 2 threads, stopped by Ctrl-C or
// not, end with the same bits; wrong arguments are refused in one line.
//
// The program is looked for beside this one's build folder (../examples/demo_vit), or where POLYMOE_DEMO_VIT says.
#include <doctest/doctest.h>

#include <cstdio>
#include <polymoe/train/idx.hpp>
#include <polymoe/train/json_reader.hpp>
#include <polymoe/train/safetensors.hpp>

#include "run_program.hpp"

namespace polymoe {
namespace {

std::string program() { return program_path("demo_vit", "POLYMOE_DEMO_VIT"); }
/// Says why when the demo cannot run here; a build without the example programs is not an error.
bool demo_is_here() {
  static const bool here = [] {
    const bool built = ::access(program().c_str(), X_OK) == 0, data = has_fashion_mnist();
    if (!built) std::printf("SKIPPED: %s is not built\n", program().c_str());
    if (!data) std::printf("SKIPPED: no Fashion-MNIST in %s\n", fashion_mnist_folder);
    return built && data;
  }();
  return here;
}

template <class Stop>
outcome run_demo(const std::vector<std::string>& arguments, Stop stop) {
  return run_program(program(), arguments, stop);
}
outcome run_demo(const std::vector<std::string>& arguments) {
  return run_demo(arguments, [] { return false; });
}

/// The members of every arm in summary.json, as "arm.key" and the text of the value.
std::map<std::string, std::string> summary(const std::string& path) {
  std::map<std::string, std::string> all;
  const std::string text = read_text(path);
  json_reader r(text, path);
  std::string key;
  const auto value = [&] {
    const std::size_t from = r.offset();
    r.skip();
    return text.substr(from, r.offset() - from);
  };
  for (r.begin_object(); r.next_key(key);) {
    if (key != "arms") {
      all[key] = value();
      continue;
    }
    for (r.begin_array(); r.next_element();) {
      std::map<std::string, std::string> arm;
      for (r.begin_object(); r.next_key(key);) arm[key] = value();
      for (const auto& [k, v] : arm) all[arm.at("name") + "." + k] = v;
    }
  }
  r.end();
  return all;
}
/// Without what depends on the clock or names the number of threads.
std::map<std::string, std::string> figures(const std::string& path) {
  auto all = summary(path);
  std::erase_if(all, [](const auto& x) { return x.first == "config" || has(x.first, "second"); });
  return all;
}
/// The names of tensors whose bits differ; the time is left out.
std::string differing_tensors(const std::string& a, const std::string& b) {
  const safetensors_file fa(a), fb(b);
  std::string names = fa.names() == fb.names() ? "" : "(other tensors) ";
  for (const tensor_ref& x : fa.tensors()) {
    const tensor_ref* y = fb.find(x.name);
    const bool same = y && x.dims == y->dims && std::memcmp(x.data, y->data, static_cast<std::size_t>(x.bytes())) == 0;
    if (!same && x.name != "trainer.seconds") names += x.name + " ";
  }
  if (fa.metadata().at("polymoe.step") != fb.metadata().at("polymoe.step")) names += "polymoe.step";
  return names;
}
/// The columns of epochs.csv that do not depend on the clock, row by row.
std::string rows_without_time(const std::string& path) {
  const std::string text = read_text(path);
  std::string kept;
  index column = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find_first_of(",\n", at);
    if (column != 6 && column != 7) kept += text.substr(at, end + 1 - at);
    column = text[end] == '\n' ? 0 : column + 1;
    at = end + 1;
  }
  return kept;
}

TEST_CASE("demo: every file is there, and threads and Ctrl-C do not change a bit") {
  if (!demo_is_here()) return;
  temp_folder t;
  // 12 steps an epoch, each with a row in steps.jsonl.
  const std::vector<std::string> options{"--images", "1536", "--test-images", "256", "--epochs", "2", "--seed", "5"};
  const auto in = [&](const char* folder) { return std::vector<std::string>{"--out", t.file(folder)}; };

  const outcome whole = run_demo(with(with(options, in("whole")), {"--threads", "1"}));
  CAPTURE(whole.err);
  REQUIRE(whole.status == 0);
  const auto all = summary(t.file("whole/summary.json"));
  for (const char* key : {"config", "device", "schema"}) CHECK_MESSAGE(all.count(key) == 1, key);
  // Every column of the table, in summary.json as well.
  for (const auto& [row, key, dense] : {std::tuple{"test accuracy", "test_accuracy", true},
                                        {"parameters, total", "parameters", true},
                                        {"parameters, active per token", "active_parameters", true},
                                        {"MFLOPs per image", "flops_per_image", true},
                                        {"images/s, training", "train_images_per_second", true},
                                        {"images/s, inference", "test_images_per_second", true},
                                        {"rho_static", "rho_static", false},
                                        {"rho_active", "rho_active", false},
                                        {"rho_capacity", "rho_capacity", false},
                                        {"drop rate, last training epoch", "train_drop_rate", false},
                                        {"drop rate, test", "drop_rate", false},
                                        {"load CV", "load_cv", false},
                                        {"router entropy", "router_entropy", false}}) {
    CAPTURE(key);
    CHECK(has(whole.out, "\n" + std::string(row)));
    CHECK(all.count(std::string("\"moe\".") + key) == 1);
    CHECK(all.count(std::string("\"dense\".") + key) == (dense ? 1 : 0));
  }
  CHECK(all.at("\"moe\".epochs") == "2");
  for (const char* arm : {"\"moe\".", "\"dense\"."}) {
    const double accuracy = std::stod(all.at(std::string(arm) + "test_accuracy"));
    CHECK(accuracy > 0.3);  // chance is 0.1
    CHECK(accuracy < 1);
  }
  const double served = 2 * (1 - std::stod(all.at("\"moe\".drop_rate")));
  CHECK((served > 1 && served < 2));  // the capacity binds, as it should with a router that has just begun
  for (const char* arm : {"moe", "dense"}) {
    CHECK(lines_in(t.file(std::string("whole/") + arm + "/epochs.csv")) == 3);
    CHECK(lines_in(t.file(std::string("whole/") + arm + "/steps.jsonl")) == 24);
    // The last two columns: the least and the largest gradient of an expert.
    const std::string rows = t.get(std::string("whole/") + arm + "/epochs.csv");
    CHECK(has(rows, "expert_grad_norm_min,expert_grad_norm_max\n"));
    const std::size_t last = rows.find_last_of(','), before = rows.find_last_of(',', last - 1);
    const double least = std::stod(rows.substr(before + 1)), most = std::stod(rows.substr(last + 1));
    if (std::string(arm) == "moe") CHECK((least > 0 && least < most));
    else CHECK((least == 0 && most == 0));
  }
  std::string page = t.get("whole/report.html");
  for (const char* part : {"<h3>Accuracy</h3>", "<h3>Loss</h3>", "Load of each expert in training, last block",
                           "Who serves which class, block 1", "First choice of every patch",
                           "Confusion of moe, test images", "Confusion of dense, test images", "</html>"})
    CHECK_MESSAGE(has(page, part), part);
  for (const char* mark : {"xmlns=\"http://", "xmlns='http://"})
    for (std::size_t at = 0; (at = page.find(mark, at)) != page.npos;) page.erase(at, std::strlen(mark));
  CHECK_FALSE(has(page, "http://"));
  CHECK_FALSE(has(page, "https://"));
  CHECK(has(whole.out, "Device: "));
  CHECK(has(whole.out, "test accuracy"));
  CHECK(has(whole.out, "Written: " + t.file("whole/report.html")));

  // Stopped in the second epoch of the first arm.  Who waits for a row may be held up until
  // the epoch is over: then again.
  const std::string steps = t.file("parts/moe/steps.jsonl"), checkpoint = t.file("parts/moe/checkpoint.safetensors");
  const auto part = with(with(options, in("parts")), {"--threads", "2"});
  outcome stopped;
  std::string step;
  const auto in_second_epoch = [&] { return !step.empty() && std::stoi(step) > 12 && std::stoi(step) < 24; };
  for (int tries = 0; tries < 10 && !in_second_epoch(); ++tries) {
    std::filesystem::remove_all(t.file("parts"));
    stopped = run_demo(part, [&] { return lines_in(steps) >= 14; });
    step = file_exists(checkpoint) ? safetensors_file(checkpoint).metadata().at("polymoe.step") : "";
  }
  CAPTURE(stopped.err);
  REQUIRE_MESSAGE(in_second_epoch(), "stopped after step '", step, "'");
  CHECK(stopped.status == 130);
  CHECK(has(stopped.err, checkpoint));
  CHECK(has(stopped.out, "--resume"));
  CHECK_FALSE(file_exists(t.file("parts/summary.json")));

  const outcome other = run_demo(with(with(options, in("parts")), {"--resume", "--experts", "4"}));
  CHECK(other.status == 1);
  CHECK(has(other.err, checkpoint));
  CHECK(safetensors_file(checkpoint).metadata().at("polymoe.step") == step);

  const outcome resumed = run_demo(with(with(options, in("parts")), {"--threads", "3", "--resume"}));
  CAPTURE(resumed.err);
  CHECK(resumed.status == 0);
  CHECK(has(resumed.out, "after step " + step));
  CHECK(figures(t.file("whole/summary.json")) == figures(t.file("parts/summary.json")));
  for (const char* arm : {"moe", "dense"}) {
    const std::string a = t.file(std::string("whole/") + arm), b = t.file(std::string("parts/") + arm);
    CHECK(differing_tensors(a + "/checkpoint.safetensors", b + "/checkpoint.safetensors") == "");
    CHECK(read_text(a + "/steps.jsonl") == read_text(b + "/steps.jsonl"));
    CHECK(rows_without_time(a + "/epochs.csv") == rows_without_time(b + "/epochs.csv"));
  }
  std::printf("demo_vit: whole run %.1f s, stopped %.1f s, resumed %.1f s\n", whole.seconds, stopped.seconds,
              resumed.seconds);
}

TEST_CASE("demo: wrong arguments are refused in one line that names the value") {
  if (!demo_is_here()) return;
  temp_folder t;
  const auto refused = [&](const std::vector<std::string>& arguments, const char* flag, const char* value) {
    const outcome o = run_demo(with({"--out", t.file("none")}, arguments));
    CAPTURE(o.err);
    CHECK((o.status == 1 || o.status == 2));
    CHECK(std::count(o.err.begin(), o.err.end(), '\n') == 1);
    CHECK(o.err.starts_with("demo_vit: "));
    CHECK(has(o.err, flag));
    CHECK(has(o.err, value));
    CHECK_FALSE(std::filesystem::exists(t.file("none")));
  };
  refused({"--experts", "1"}, "--experts", "1");
  refused({"--experts", "many"}, "--experts", "many");
  refused({"--epochs", "-1"}, "--epochs", "-1");
  refused({"--threads", "0"}, "--threads", "0");
  refused({"--seed", "-1"}, "--seed", "-1");
  refused({"--seed", "lucky"}, "--seed", "lucky");
  refused({"--device", "gpu"}, "--device", "gpu");
  refused({"--precision", "f8"}, "--precision", "f8");
  refused({"--images", "100"}, "--images", "100");
  refused({"--test-images", "-1"}, "--test-images", "-1");
  refused({"--unknown"}, "--unknown", "--unknown");
  refused({"--data", "/nonexistent"}, "/nonexistent", "not found");
  // Without a GPU, or in a build without its arms, one sentence says so; with both the next mistake is found.
  const outcome device = run_demo({"--device", "cuda", "--images", "100", "--out", t.file("none")});
  CAPTURE(device.err);
  CHECK(device.status == 1);
  CHECK(std::count(device.err.begin(), device.err.end(), '\n') == 1);
  CHECK((device.err.starts_with("demo_vit: --device cuda: ") || device.err.starts_with("demo_vit: --images 100")));
  CHECK_FALSE(std::filesystem::exists(t.file("none")));
  const outcome taken = run_demo({"--out", t.put("file", "x") + "/below"});
  CHECK(taken.status == 1);
  CHECK(has(taken.err, "file/below"));

  const outcome help = run_demo({"--help"});
  CHECK(help.status == 0);
  for (const char* flag :
       {"--data", "--epochs", "--experts", "--seed", "--threads", "--resume", "--out", "--images", "--device"})
    CHECK(has(help.out, flag));
}

}  // namespace
}  // namespace polymoe
