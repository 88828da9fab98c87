// timeout: 600
// A paper program from the outside: killed or stopped in the middle of a seed it goes on bit for bit; tables of several
// seeds; a disk that is full keeps the last checkpoint.
//
// The program is looked for beside this one's build folder (../examples/paper_d), or where POLYMOE_PAPER_D says.
#include <doctest/doctest.h>

#include <cstdio>
#include <polymoe/train/json_reader.hpp>
#include <polymoe/train/safetensors.hpp>

#include "run_program.hpp"

namespace polymoe {
namespace {

/// Options of a run on 160 training and 32 test images in the format of CIFAR-10, which are put into the folder.
std::vector<std::string> small(const temp_folder& t) {
  const auto images = [](index from) {
    std::string bytes;
    for (index i = from; i < from + 32; ++i) {
      bytes += static_cast<char>(i % 10);
      for (index p = 0; p < 3072; ++p) bytes += static_cast<char>(25 * (i % 10) + (p * (i + 7) + i * i) % 61);
    }
    return bytes;
  };
  std::filesystem::create_directory(t.file("data"));
  for (index i = 1; i <= 5; ++i) t.put("data/data_batch_" + std::to_string(i) + ".bin", images(32 * i));
  t.put("data/test_batch.bin", images(0));
  return {"--data",  t.file("data"), "--validation", "32", "--batch", "16", "--dim",     "24", "--depth",  "3",
          "--patch", "16",           "--experts",    "4",  "--k",     "2",  "--threads", "1",  "--epochs", "4"};
}

std::string paper_program() { return program_path("paper_d", "POLYMOE_PAPER_D"); }
bool paper_is_here() {
  const bool here = ::access(paper_program().c_str(), X_OK) == 0;
  if (!here) std::printf("SKIPPED: %s is not built\n", paper_program().c_str());
  return here;
}
outcome run_paper(const std::vector<std::string>& arguments) {
  return run_program(paper_program(), arguments, [] { return false; });
}

/// What is in a result.json, as text, without what depends on the clock.
std::string result_without_time(const std::string& path) {
  const std::string text = read_text(path);
  json_reader r(text, path);
  std::string kept, key, figure;
  const auto keep = [&] {
    const std::size_t from = r.offset();
    r.skip();
    kept += text.substr(from, r.offset() - from) + " ";
  };
  for (r.begin_object(); r.next_key(key);) {
    kept += "\n" + key + ": ";
    if (key == "epochs") {
      for (r.begin_array(); r.next_element();) {
        index column = 0;
        for (r.begin_array(); r.next_element(); ++column) {
          if (column == 4)
            r.skip();
          else
            keep();
        }
      }
    } else if (key == "figures") {
      for (r.begin_object(); r.next_key(figure);) {
        if (has(figure, "second"))
          r.skip();
        else
          kept += figure + " ", keep();
      }
    } else {
      keep();
    }
  }
  r.end();
  return kept;
}
index step_of(const std::string& checkpoint) {
  return std::stoi(safetensors_file(checkpoint).metadata().at("polymoe.step"));
}

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
  for (const char* text :
       {"Mean, standard error and number of seeds", "paired over seeds", "95 % bootstrap", "<h2>Experts"})
    CHECK_MESSAGE(has(page, text), text);

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

}  // namespace
}  // namespace polymoe
