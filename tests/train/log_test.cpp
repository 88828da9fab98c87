// sanitize: yes
// The CSV and JSONL records of a run, and its progress line.
// with: files
#include <doctest/doctest.h>

#include <limits>
#include <polymoe/train/log.hpp>
#include <polymoe/train/progress.hpp>

#include "temp_folder.hpp"

namespace polymoe::inline v0 {

namespace {
constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

/// What a progress display printed, with a clock that is turned by hand.
struct display {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* out = ::open_memstream(&text, &size);
  double now = 100;

  ~display() {
    std::fclose(out);
    std::free(text);
  }
  progress_options options(progress_mode mode, index every = 2) {
    return {.every = every, .mode = mode, .out = out, .clock = [this] { return now; }};
  }
  std::string shown() {
    std::fflush(out);
    return {text, size};
  }
};
}  // namespace

TEST_CASE("csv: one row per epoch, schema first, cells quoted where needed") {
  temp_folder t;
  {
    csv_log log(t.file("a.csv"), {"loss", "note, free", "best"});
    log.row(0, {0.1f, "plain", true});
    log.row(1, {not_a_number, "a \"b\", c\nd", false});
    CHECK_THROWS_AS(log.row(2, {1.0}), error);
    // Rows are in the file at once, not when the log is closed.
    CHECK(t.get("a.csv") ==
          "schema,epoch,loss,\"note, free\",best\n1,0,0.1,plain,1\n1,1,nan,\"a \"\"b\"\", c d\",0\n");
  }
  {
    csv_log(t.file("a.csv"), {"loss", "note, free", "best"})
        .row(2, {-std::numeric_limits<double>::infinity(), "", true});
  }
  CHECK(has(t.get("a.csv"), "c d\",0\n1,2,-inf,,1\n"));
  CHECK(has(message_of<error>([&] { csv_log(t.file("a.csv"), {"loss"}); }),
            "line 1: the columns are schema,epoch,loss,"));
}

TEST_CASE("csv: a resumed run removes the epochs it will repeat, and a row that was cut") {
  temp_folder t;
  t.put("a.csv", "schema,epoch,loss\n1,0,0.5\n1,1,0.4\n1,2,0.3\n1,3,0.2");
  { csv_log(t.file("a.csv"), {"loss"}); }
  CHECK(t.get("a.csv") == "schema,epoch,loss\n1,0,0.5\n1,1,0.4\n1,2,0.3\n");
  { csv_log(t.file("a.csv"), {"loss"}, 2).row(2, {7}); }
  CHECK(t.get("a.csv") == "schema,epoch,loss\n1,0,0.5\n1,1,0.4\n1,2,7\n");
  { csv_log(t.file("a.csv"), {"other"}, 0).row(0, {1}); }
  CHECK(t.get("a.csv") == "schema,epoch,other\n1,0,1\n");
  t.put("a.csv", "schema,epoch,loss\n2,0,0.5\n");
  CHECK(
      has(message_of<error>([&] { csv_log(t.file("a.csv"), {"loss"}); }), "line 2: expected 1,<epoch>, found 2,0,0.5"));
  t.put("a.csv", "schema,ep");  // killed inside its first line
  { csv_log(t.file("a.csv"), {"loss"}).row(0, {1}); }
  CHECK(t.get("a.csv") == "schema,epoch,loss\n1,0,1\n");
}

TEST_CASE("jsonl: one object per step, NaN as null, resumable") {
  temp_folder t;
  {
    jsonl_log log(t.file("a.jsonl"));
    log.row(0, {{"loss", 2.5}, {"lr", 0.1f}, {"skipped", false}, {"note", "a\"b\n"}, {"images", std::size_t{128}}});
    log.row(1, {{"loss", not_a_number}});
    log.row(2, {{"loss", 1}});
  }
  CHECK(t.get("a.jsonl") ==
        "{\"schema\":1,\"step\":0,\"loss\":2.5,\"lr\":0.1,\"skipped\":false,\"note\":\"a\\\"b\\n\",\"images\":128}\n"
        "{\"schema\":1,\"step\":1,\"loss\":null}\n{\"schema\":1,\"step\":2,\"loss\":1}\n");
  t.put("a.jsonl", t.get("a.jsonl") + "{\"schema\":1,\"st");
  { jsonl_log(t.file("a.jsonl"), 1).row(1, {{"loss", 9}}); }
  CHECK(has(t.get("a.jsonl"), "\"images\":128}\n{\"schema\":1,\"step\":1,\"loss\":9}\n"));
  CHECK_FALSE(has(t.get("a.jsonl"), "\"st\n"));
  { jsonl_log log(t.file("a.jsonl"), 0); }
  CHECK(t.get("a.jsonl").empty());
  t.put("a.jsonl", "{\"schema\":1,\"step\":0}\nnonsense\n");
  CHECK(has(message_of<error>([&] { jsonl_log log(t.file("a.jsonl")); }), "line 2: byte 0"));
  t.put("a.jsonl", "{\"schema\":3,\"step\":0}\n");
  CHECK(has(message_of<error>([&] { jsonl_log log(t.file("a.jsonl")); }), "schema 3, expected 1"));
  CHECK(has(message_of<error>([&] { jsonl_log log(t.file("no/a.jsonl")); }), "No such file"));
}

TEST_CASE("progress: plain lines every N steps and at the end of an epoch, without carriage returns") {
  display d;
  progress p(2, 5, d.options(progress_mode::plain));
  p.begin_epoch(0);
  d.now += 60;  // the first step warms up: not in any rate
  p.step(10, {.loss = 2.5});
  CHECK(p.images_per_second() == 0);
  CHECK(d.shown().empty());
  for (int i = 0; i < 4; ++i) {
    d.now += 0.5;
    p.step(10, {.loss = 2, .lr = 0.1, .grad_norm = 1.25, .dropped = 0.021, .load_spread = 1.34});
  }
  CHECK(p.images_per_second() == doctest::Approx(20));
  CHECK(p.eta() == doctest::Approx(2.5));
  CHECK(d.shown() ==
        "epoch 1/2  2/5  20 img/s  eta 4s  loss 2.0000  lr 1.0e-1  |g| 1.25  drop 2.1%  load 1.34\n"
        "epoch 1/2  4/5  20 img/s  eta 3s  loss 2.0000  lr 1.0e-1  |g| 1.25  drop 2.1%  load 1.34\n"
        "epoch 1/2  5/5  20 img/s  eta 3s  loss 2.0000  lr 1.0e-1  |g| 1.25  drop 2.1%  load 1.34\n");
  d.now += 30;  // an evaluation: not in the throughput
  p.begin_epoch(1);
  d.now += 0.5;
  p.step(10, {.loss = 1});
  CHECK(p.images_per_second() == doctest::Approx(20));
  CHECK(p.eta() == doctest::Approx(2));
  CHECK(has(p.line({.loss = not_a_number}), "loss nan"));
}

TEST_CASE("progress: the live line overwrites itself, stays in the width and is rare") {
  display d;
  {
    progress p(1, 1000, d.options(progress_mode::live));
    p.begin_epoch(0);
    for (int i = 0; i < 1000; ++i) {
      d.now += 0.01;
      p.step(64, {.loss = 1.5, .lr = 0.01});
    }
    p.message("epoch 1: test accuracy 90.00 %");
    p.message("saved");
  }
  const std::string s = d.shown();
  const auto returns = std::count(s.begin(), s.end(), '\r');
  CHECK(returns > 50);
  CHECK(returns < 120);
  CHECK(has(s, "epoch 1/1  1000/1000  6400 img/s  eta 0s  loss 1.5000  lr 1.0e-2"));
  CHECK(has(s, "\nepoch 1: test accuracy 90.00 %\nsaved\n"));
  for (std::size_t at = 0; at < s.size();) {
    const std::size_t end = std::min(s.find_first_of("\r\n", at), s.size());
    CHECK(end - at <= 79);
    at = end + 1;
  }
}

TEST_CASE("progress: what matters fits in narrow terminals, whole fields go first where it does not") {
  // The line after 145 of 469 steps in the third of ten epochs; large: five digits of images/s, long names of steps.
  const auto line = [](int columns, bool large) {
    display d;
    {
      auto o = d.options(progress_mode::live);
      o.columns = columns;
      progress p(large ? 100 : 10, large ? 4690 : 469, o);
      p.begin_epoch(large ? 11 : 2, large ? 1449 : 143);
      d.now += 1;
      p.step(128, {.loss = 1});
      d.now += 0.16;
      const step_report r{.loss = 0.51234, .lr = 9.5e-4, .grad_norm = 1.234, .dropped = 0.0214, .load_spread = 1.345};
      p.step(large ? 2048 : 1300, r);
    }
    const std::string s = d.shown();
    return s.substr(s.rfind('\r') + 1, s.find('\n') - s.rfind('\r') - 1);
  };
  CHECK(line(60, false).starts_with("e3/10 145/469 8125/s eta 9m37s"));
  CHECK(line(60, false).ends_with(" loss 0.512 lr 9e-4 g 1.2"));
  CHECK(line(80, false).starts_with("ep 3/10 145/469 8125/s eta 9m37s"));
  CHECK(line(80, false).ends_with(" loss 0.512 lr 9.5e-4 g 1.23 drop 2.1% ld 1.34"));
  CHECK(line(80, true) == "e12/100 1451/4690 12800/s eta 18h29m loss 0.512 lr 9e-4 g 1.2 drop 2% ld 1.3");
  CHECK(line(100, false).starts_with("epoch 3/10  145/469  8125 img/s  eta 9m37s"));
  CHECK(line(100, false).ends_with("  loss 0.5123  lr 9.5e-4  |g| 1.23  drop 2.1%  load 1.34"));
  CHECK(line(140, false).starts_with("epoch 3/10 [###-------]  30%  145/469  8125 images/s  eta 9m37s"));
  CHECK(line(140, false).ends_with("  loss 0.5123  lr 9.5e-4  gradient norm 1.23  dropped 2.1%  load 1.34x"));
  for (const bool large : {false, true})
    for (int columns = 2; columns < 200; ++columns) {
      const std::string s = line(columns, large);
      CAPTURE(columns);
      CAPTURE(s);
      CHECK(s.size() < static_cast<std::size_t>(columns));
      if (columns >= 60) CHECK(has(s, " loss 0.512"));
      if (columns >= 60) CHECK(has(s, " eta "));
      for (const char* field : {" lr 9", "g", " dr", " l", " 1.3"})
        if (columns >= 80) CHECK(has(s, field));
    }
}

TEST_CASE("progress: no terminal means plain, NO_COLOR means plain, silent is silent") {
  display d;
  {
    progress p(1, 2, d.options(progress_mode::automatic, 1));
    p.begin_epoch(0);
    p.step(1, {.loss = 1});
  }
  CHECK(d.shown() == "epoch 1/1  1/2  loss 1.0000\n");
  display quiet;
  {
    progress p(1, 2, quiet.options(progress_mode::silent, 1));
    p.begin_epoch(0);
    p.step(1, {.loss = 1});
    p.message("hello");
  }
  CHECK(quiet.shown().empty());
  CHECK_THROWS_AS(progress(0, 1), error);
  CHECK(detail::duration_text(59.4) == "59s");
  CHECK(detail::duration_text(185) == "3m05s");
  CHECK(detail::duration_text(2 * 3600 + 7 * 60) == "2h07m");
  CHECK(detail::duration_text(not_a_number) == "?");
}

}  // namespace polymoe
