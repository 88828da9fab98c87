// Damaged JSON texts and safetensors files.
// sanitize: yes
// timeout: 900
#include <polymoe/train/safetensors.hpp>

#if __has_include(<nlohmann/json.hpp>)
#include <nlohmann/json.hpp>
#endif

#include "fuzz/mutate.hpp"
#include "train/temp_folder.hpp"

namespace {

using polymoe::json_reader;
using polymoe::safetensors_file;

const std::vector<fuzz::bytes> texts = {
    R"({"a": 1, "b": [true, false, null, -1.5e-3, 0, 12345678901234567890], "c": {"d": "x\ny", "e": []}})",
    R"(["\u00e9\ud83d\ude00", "plain", "\"\\\/\b\f\n\r\t", ")"
    "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"
    R"("])",
    R"([[[[[[[[1]]]],[2,[3]]]]], {"":{"":{"":{}}}}])",
    std::string(64, '[') + std::string(64, ']'),
    "-0.0e+10",
    R"("text")",
    " \t\r\n7 "};

/// Levels of nesting outside of strings.
int depth_of(const fuzz::bytes& x) {
  int depth = 0, most = 0;
  bool text = false;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (text && x[i] == '\\')
      ++i;
    else if (x[i] == '"')
      text = !text;
    else if (!text && (x[i] == '[' || x[i] == '{'))
      most = std::max(most, ++depth);
    else if (!text && (x[i] == ']' || x[i] == '}'))
      --depth;
  }
  return most;
}
/// The file as the constructor that reads memory wants it.
safetensors_file open(const fuzz::bytes& x) {
  const auto* p = reinterpret_cast<const std::byte*>(x.data());
  return {std::vector<std::byte>(p, p + x.size()), "memory"};
}
/// What a reader promises: tensors cover the data one after another; every byte can be read.
std::string wrong_tensors(const safetensors_file& f, const fuzz::bytes& x) {
  std::uint64_t header = 0;
  std::memcpy(&header, x.data(), 8);
  std::size_t sum = 0, touched = 0, bits = 0;
  for (const auto& t : f.tensors()) {
    if (f.find(t.name) != &t) return "a tensor is not found by its name";
    for (polymoe::index i = 0; i < t.bytes(); ++i, ++touched) bits |= static_cast<const unsigned char*>(t.data)[i];
    sum += static_cast<std::size_t>(t.bytes());
  }
  if (bits > 255 || sum != touched || sum + 8 + header != x.size()) return "tensors do not cover the data";
  return "";
}
/// A file of another program: no checksums.
fuzz::bytes foreign(const fuzz::bytes& header, std::size_t data) {
  const std::uint64_t n = header.size();
  fuzz::bytes x(reinterpret_cast<const char*>(&n), 8);
  x += header;
  for (std::size_t i = 0; i < data; ++i) x += static_cast<char>(i);
  return x;
}

}  // namespace

TEST_CASE("JSON texts, and what nlohmann-json says about them") {
  fuzz::check("json", texts, [](const fuzz::bytes& x) {
    std::string refusal;
    const std::vector<char> exact(x.begin(), x.end());  // nothing may be read behind it, not even a zero
    try {
      json_reader r({exact.data(), exact.size()}, "text");
      r.skip();
      r.end();
    } catch (const polymoe::error& e) {
      refusal = e.what();
    }
    if (refusal.empty() && depth_of(x) > json_reader::max_depth)
      return "accepted with " + std::to_string(depth_of(x)) + " levels";
#if __has_include(<nlohmann/json.hpp>)
    const bool theirs = nlohmann::json::accept(x);
    if (refusal.empty() && !theirs) return std::string("accepted, but it is no JSON");
    if (!refusal.empty() && theirs) {  // we are stricter in three things, and say so
      for (const char* why : {"stands twice", "deeper than", "does not fit in a double"})
        if (refusal.find(why) != std::string::npos) throw polymoe::error(refusal);
      // The other reader takes a zero byte for the end of the text, and skips a mark of byte order at its start.
      if (x.find('\0') != fuzz::bytes::npos || x.rfind("\xef\xbb\xbf", 0) == 0) throw polymoe::error(refusal);
      return "refused, but it is JSON: " + refusal;
    }
#endif
    if (!refusal.empty()) throw polymoe::error(refusal);
    return std::string();
  });
}
TEST_CASE("JSON values: strings, numbers and whole numbers are what nlohmann-json reads") {
  fuzz::check(
      "json values",
      {R"("a\u00e9\n")", R"("")", "\"\xf0\x9f\x98\x80\"", "-12.5e3", "0", "18446744073709551615", "4.9e-324", "17"},
      [](const fuzz::bytes& x) {
        json_reader r(x, "text");
        const char first = r.peek();
        std::string text;
        double number = 0;
        std::uint64_t whole = 0;
        const bool is_text = first == '"', is_whole = !is_text && x.find_first_of(".eE-") == fuzz::bytes::npos;
        if (is_text)
          text = r.string();
        else if (is_whole)
          whole = r.unsigned_integer();
        else
          number = r.number();
        r.end();
#if __has_include(<nlohmann/json.hpp>)
        const auto theirs = nlohmann::json::parse(x, nullptr, false);
        if (theirs.is_discarded()) return "accepted, but it is no JSON";
        if (is_text) return theirs.is_string() && theirs.get<std::string>() == text ? "" : "another text";
        if (!theirs.is_number()) return "no number";
        if (is_whole) return theirs.get<std::uint64_t>() == whole ? "" : "another whole number";
        const double other = theirs.get<double>();
        return other == number ? "" : "another number";  // they read -0 as a whole number, without its sign
#else
        (void)number, (void)whole;
        return "";
#endif
      });
}
TEST_CASE("safetensors files with checksums: no change is accepted") {
  const temp_folder folder;
  const float a[6] = {1, 2, 3, 4, 5, 6};
  const std::int64_t b[2] = {7, 8};
  const std::uint8_t c[5] = {1, 2, 3, 4, 5};
  polymoe::write_safetensors(
      folder.file("one"),
      std::vector{polymoe::make_tensor("a", {2, 3}, a), polymoe::make_tensor("b.c", {2}, b),
                  polymoe::make_tensor("empty", {0, 4}, a), polymoe::make_tensor("scalar", {}, c)},
      {{"step", "12"}, {"name", "x"}});
  polymoe::write_safetensors(folder.file("two"), std::vector{polymoe::make_tensor("u", {5}, c)});
  const std::vector<fuzz::bytes> seeds = {folder.get("one"), folder.get("two")};
  const auto o = fuzz::drive("safetensors with checksums", seeds, [&](const fuzz::bytes& x) {
    const safetensors_file f = open(x);
    if (std::count(seeds.begin(), seeds.end(), x) == 0 && f.has_checksums())
      return std::string("a changed file passes its checksums");
    return wrong_tensors(f, x);
  });
  CHECK_MESSAGE(o.fault == "", o.fault);
  CHECK(o.refused > fuzz::runs() / 2);
}
TEST_CASE("safetensors files of other programs: what is accepted is whole") {
  const std::vector<fuzz::bytes> seeds = {
      foreign(
          R"({"w":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},"b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]}})",
          32),
      foreign(R"({"__metadata__":{"format":"pt"},"s":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}   )", 1),
      foreign(
          R"({"z":{"dtype":"I64","shape":[0,9],"data_offsets":[0,0]},"y":{"data_offsets":[0,2],"shape":[2],"dtype":"BOOL"}})",
          2),
      foreign("{}", 0)};
  const temp_folder folder;
  std::uint64_t copies = 0;
  fuzz::check("safetensors of others", seeds, [&](const fuzz::bytes& x) {
    const safetensors_file f = open(x);
    const std::string wrong = wrong_tensors(f, x);
    if (!wrong.empty() || ++copies % 16 != 0) return wrong;
    // What was read can be written, and is the same when it is read again.
    polymoe::write_safetensors(folder.file("copy"), f.tensors(), f.metadata());
    const safetensors_file again(folder.file("copy"));
    if (again.tensors().size() != f.tensors().size() || again.metadata() != f.metadata())
      return std::string("a copy has other entries");
    for (const auto& t : f.tensors()) {
      const auto& u = again.at(t.name);
      if (u.dtype != t.dtype || u.dims != t.dims) return "a copy has another shape of " + t.name;
      if (t.bytes() > 0 && std::memcmp(u.data, t.data, static_cast<std::size_t>(t.bytes())) != 0)
        return "a copy has other data of " + t.name;
    }
    return std::string();
  });
}
