// --device auto|cpu|cuda of the programs that train on a GPU as well.
#pragma once

#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include <polymoe/core/error.hpp>

namespace program {

/// CLI11 reads -1 as the largest number where a number has no sign.
inline std::string not_negative(const std::string& text) {
  return text.starts_with('-') ? text + " must not be negative" : std::string();
}

inline void add_device_option(CLI::App& app, std::string& wish) {
  app.add_option("--device", wish, "auto, cpu or cuda; auto takes a GPU where there is one")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
}

/// "cpu", or "cuda, " and the name of the GPU; for "auto" a line says which and why.  `missing` is why there can be no
/// GPU, empty where there is one; throws when "cuda" is asked for all the same.
inline std::string chosen_device(const std::string& wish, const std::string& gpu, const std::string& missing) {
  if (wish == "cpu") return "cpu";
  polymoe::require(wish != "cuda" || missing.empty(), "--device cuda: ", missing);
  const std::string device = missing.empty() ? "cuda, " + gpu : "cpu";
  if (wish == "auto")
    std::printf("Device: %s (--device auto: %s)\n", device.c_str(), missing.empty() ? "there is one" : missing.c_str());
  return device;
}

}  // namespace program
