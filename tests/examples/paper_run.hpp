// The paper programs, small runs of them, and what they leave, for the tests that run them.
//
// The programs are looked for beside the test's build folder (../examples/paper_d), or where POLYMOE_PAPER_A to
// POLYMOE_PAPER_D say.
#pragma once

#include <cmath>
#include <cstdio>
#include <polymoe/train/json_reader.hpp>
#include <polymoe/train/report_style.hpp>
#include <polymoe/train/safetensors.hpp>

#include "run_program.hpp"

namespace polymoe {

/// 160 training and 32 test images in the format of CIFAR-10, put into the folder.
inline std::string cifar_in(const temp_folder& t) {
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
  return t.file("data");
}
/// Options of a run of paper_d on them.
inline std::vector<std::string> small(const temp_folder& t) {
  return {"--data",  cifar_in(t), "--validation", "32", "--batch", "16", "--dim",     "24", "--depth",  "3",
          "--patch", "16",        "--experts",    "4",  "--k",     "2",  "--threads", "1",  "--epochs", "4"};
}

inline std::string paper_program() { return program_path("paper_d", "POLYMOE_PAPER_D"); }
inline std::string sweep_program() { return program_path("paper_a", "POLYMOE_PAPER_A"); }
inline std::string resnet_program() { return program_path("paper_b", "POLYMOE_PAPER_B"); }
inline std::string routers_program() { return program_path("paper_c", "POLYMOE_PAPER_C"); }
inline bool paper_is_here() {
  bool here = true;
  for (const std::string& program : {paper_program(), sweep_program(), resnet_program(), routers_program()})
    if (::access(program.c_str(), X_OK) != 0) {
      std::printf("SKIPPED: %s is not built\n", program.c_str());
      here = false;
    }
  return here;
}
inline outcome run_paper(const std::vector<std::string>& arguments) {
  return run_program(paper_program(), arguments, [] { return false; });
}

/// What is in a result.json, as text, without what depends on the clock.
inline std::string result_without_time(const std::string& path) {
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
    } else if (key == "figures" || key == "lists") {
      for (r.begin_object(); r.next_key(figure);) {
        if (has(figure, "second") || has(figure, "_ms"))
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
/// The value of a key at the top of a result.json, as it stands there.
inline std::string value_of_key(const std::string& path, const std::string& wanted) {
  const std::string text = read_text(path);
  json_reader r(text, path);
  std::string key, found;
  for (r.begin_object(); r.next_key(key);) {
    const std::size_t from = r.offset();
    r.skip();
    if (key == wanted) found = text.substr(from, r.offset() - from);
  }
  r.end();
  return found;
}
/// A figure of a result.json.
inline double figure_of(const std::string& path, const std::string& wanted) {
  const std::string figures = value_of_key(path, "figures");
  json_reader r(figures, path);
  std::string key;
  double found = std::nan("");
  for (r.begin_object(); r.next_key(key);) {
    if (key == wanted)
      found = r.number();
    else
      r.skip();
  }
  r.end();
  return found;
}
/// A list of a result.json; empty where there is none.
inline std::vector<double> list_of(const std::string& path, const std::string& wanted) {
  const std::string lists = value_of_key(path, "lists");
  json_reader r(lists, path);
  std::string key;
  std::vector<double> found;
  for (r.begin_object(); r.next_key(key);) {
    if (key == wanted)
      for (r.begin_array(); r.next_element();) found.push_back(r.number());
    else
      r.skip();
  }
  r.end();
  return found;
}
/// Training loss of every epoch of a result.json.
inline std::vector<double> training_losses(const std::string& path) {
  const std::string epochs = value_of_key(path, "epochs");
  json_reader r(epochs, path);
  std::vector<double> losses;
  for (r.begin_array(); r.next_element();) {
    index column = 0;
    for (r.begin_array(); r.next_element(); ++column) {
      if (column == 0)
        losses.push_back(r.number());
      else
        r.skip();
    }
  }
  r.end();
  return losses;
}
/// As a page shows it.
inline std::string escaped(const std::string& text) { return detail::html(text); }

inline index step_of(const std::string& checkpoint) {
  return std::stoi(safetensors_file(checkpoint).metadata().at("polymoe.step"));
}

}  // namespace polymoe
