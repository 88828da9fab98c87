// Damaged image files: IDX, plain and gzip, and CIFAR.
// sanitize: yes
// timeout: 900
#include <polymoe/train/cifar.hpp>
#include <polymoe/train/idx.hpp>

#include "fuzz/mutate.hpp"
#include "train/temp_folder.hpp"

namespace {

fuzz::bytes idx(std::initializer_list<unsigned> dims) {
  fuzz::bytes x("\0\0\x08", 3);
  x += static_cast<char>(dims.size());
  std::size_t size = 1;
  for (const unsigned d : dims) {
    for (int shift = 24; shift >= 0; shift -= 8) x += static_cast<char>(d >> shift);
    size *= d;
  }
  for (std::size_t i = 0; i < size; ++i) x += static_cast<char>(i % 7);
  return x;
}
fuzz::bytes gzip(const fuzz::bytes& plain) {
  z_stream z{};
  REQUIRE(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  fuzz::bytes out(deflateBound(&z, plain.size()) + 64, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  z.avail_in = static_cast<uInt>(plain.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}
/// The bytes under a name; written plainly, because a test writes very many.
void put(const std::string& path, const fuzz::bytes& x) {
  std::FILE* f = std::fopen(path.c_str(), "wb");
  REQUIRE(f != nullptr);
  if (!x.empty()) REQUIRE(std::fwrite(x.data(), 1, x.size(), f) == x.size());
  std::fclose(f);
}
/// What a reader promises about an array: sizes and values agree, and the values are those of the file.
std::string wrong_array(const polymoe::idx_array& a, int rank, const fuzz::bytes& plain) {
  polymoe::index size = 1;
  for (const polymoe::index d : a.dims) size *= d;
  if (static_cast<int>(a.dims.size()) != rank) return "rank " + std::to_string(a.dims.size());
  if (static_cast<polymoe::index>(a.values.size()) != size) return "sizes and values disagree";
  const std::size_t head = 4 + 4 * static_cast<std::size_t>(rank);
  if (plain.size() != head + a.values.size()) return "bytes were left over";
  return std::equal(a.values.begin(), a.values.end(), reinterpret_cast<const std::uint8_t*>(plain.data()) + head)
             ? ""
             : "values differ from the file";
}

}  // namespace

TEST_CASE("IDX files") {
  const temp_folder folder;
  const std::string path = folder.file("x");
  fuzz::check("idx images", {idx({3, 4, 5}), idx({0, 2, 2}), idx({1, 1, 1})}, [&](const fuzz::bytes& x) {
    put(path, x);
    return wrong_array(polymoe::read_idx(path, 3), 3, x);
  });
  fuzz::check("idx labels", {idx({9}), idx({1})}, [&](const fuzz::bytes& x) {
    put(path, x);
    return wrong_array(polymoe::read_idx(path, 1), 1, x);
  });
}
TEST_CASE("IDX files in gzip: the content changed, the wrapping right") {
  const temp_folder folder;
  const std::string path = folder.file("x");
  fuzz::check("idx in gzip", {idx({3, 4, 5}), idx({300, 2, 2})}, [&](const fuzz::bytes& x) {
    put(path, gzip(x));
    return wrong_array(polymoe::read_idx(path, 3), 3, x);
  });
}
TEST_CASE("gzip files changed anywhere: never other values than before, the checksum sees to that") {
  const temp_folder folder;
  const std::string path = folder.file("x");
  const fuzz::bytes plain = idx({30, 4, 5}), packed = gzip(plain);
  fuzz::bytes named = packed;  // with a name and a comment in the header
  named[3] = 8 | 16;
  named.insert(10, std::string("name\0comment\0", 13));
  // Header fields are not covered by a checksum, so some changes pass; the data must then be the same.  Whole members
  // may follow each other, and an empty one adds nothing.
  const auto o = fuzz::drive("gzip", {packed, named, packed + gzip("")}, [&](const fuzz::bytes& x) {
    put(path, x);
    return wrong_array(polymoe::read_idx(path, 3), 3, plain);
  });
  CHECK_MESSAGE(o.fault == "", o.fault);
  CHECK(o.refused > fuzz::runs() / 2);
  MESSAGE("gzip: " << o.accepted << " accepted, " << o.refused << " refused");
}
TEST_CASE("a pair of IDX files as a data set") {
  const temp_folder folder;
  const std::string images = folder.file("images"), labels = folder.file("labels");
  const fuzz::bytes good_images = idx({6, 2, 3}), good_labels = idx({6});
  fuzz::check("idx data set", {good_images + "|" + good_labels}, [&](const fuzz::bytes& x) {
    const std::size_t cut = x.rfind('|');
    put(images, cut == fuzz::bytes::npos ? x : x.substr(0, cut));
    put(labels, cut == fuzz::bytes::npos ? good_labels : x.substr(cut + 1));
    const polymoe::dataset d = polymoe::read_idx_dataset(images, labels);
    if (d.pixels.size() != d.labels.size() * static_cast<std::size_t>(d.height * d.width))
      return "pixels and labels disagree";
    for (const auto l : d.labels)
      if (l < 0 || static_cast<std::size_t>(l) >= d.class_names.size()) return "a label without a class";
    return "";
  });
}
TEST_CASE("CIFAR files") {
  const temp_folder folder;
  const std::string path = folder.file("x");
  const auto records = [](int n, int labels) {
    fuzz::bytes x;
    for (int i = 0; i < n; ++i) {
      for (int l = 0; l < labels; ++l) x += static_cast<char>(i + l);
      for (int p = 0; p < 3072; ++p) x += static_cast<char>(p + i);
    }
    return x;
  };
  for (const int labels : {1, 2}) {
    const auto o = fuzz::drive(labels == 1 ? "cifar 10" : "cifar 100", {records(1, labels), records(3, labels)},
                               [&](const fuzz::bytes& x) {
                                 put(path, x);
                                 polymoe::dataset d;
                                 d.channels = 3, d.height = d.width = 32;
                                 d.class_names.assign(labels == 1 ? 10 : 100, "c"), d.coarse_names.assign(20, "s");
                                 polymoe::detail::append_cifar(d, path, labels == 2);
                                 if (d.pixels.size() != d.labels.size() * 3072) return "pixels and labels disagree";
                                 if (labels == 2 && d.coarse.size() != d.labels.size())
                                   return "labels of two kinds disagree";
                                 for (const auto l : d.labels)
                                   if (l < 0 || static_cast<std::size_t>(l) >= d.class_names.size())
                                     return "a label without a class";
                                 return "";
                               });
    CHECK_MESSAGE(o.fault == "", o.fault);
    CHECK(o.accepted > fuzz::runs() / 100);
    CHECK(o.refused > fuzz::runs() / 100);
  }
}
TEST_CASE("lists of class names") {
  const temp_folder folder;
  const std::string path = folder.file("x");
  fuzz::check("cifar names", {"a\nb\nc\n", "a\r\nbb\n\nc"}, [&](const fuzz::bytes& x) {
    put(path, x);
    const auto names = polymoe::detail::cifar_names(path, 3);
    return names.size() == 3 ? "" : "not three names";
  });
}
