// sanitize: yes
// safetensors: round trips, damage of every byte, cuts of every length, hostile headers, atomic replacement.
// with: files
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <polymoe/train/safetensors.hpp>

#include "temp_folder.hpp"

namespace polymoe::inline v0 {

namespace {

std::vector<std::byte> bytes_of(const std::string& s) {
  const auto* p = reinterpret_cast<const std::byte*>(s.data());
  return {p, p + s.size()};
}
safetensors_file parse(const std::string& s) { return {bytes_of(s), "f.st"}; }
std::string parse_error(const std::string& s) {
  return message_of<error>([&] { parse(s); });
}
/// A file of a foreign program: header as given, then the data.
std::string foreign(const std::string& header, const std::string& data = {}) {
  const std::uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), 8) + header + data;
}
std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" + offsets + "]}";
}

}  // namespace

TEST_CASE("xxh64: the published test values") {
  CHECK(xxh64(nullptr, 0) == 0xEF46DB3751D8E999ull);
  CHECK(xxh64("a", 1) == 0xD24EC4F1A98C6E5Bull);
  CHECK(xxh64("abc", 3) == 0x44BC2CF5AD770999ull);
  // The sanity buffer of the reference program: bytes of a multiplicative generator, with and without a seed.
  std::vector<unsigned char> buffer(222);
  std::uint64_t g = 2654435761u;
  for (auto& b : buffer) {
    b = static_cast<unsigned char>(g >> 56);
    g *= 11400714785074694797ull;
  }
  CHECK(xxh64(buffer.data(), 1) == 0xE934A84ADB052768ull);
  CHECK(xxh64(buffer.data(), 1, 2654435761u) == 0x5014607643A9B4C3ull);
  CHECK(xxh64(buffer.data(), 14) == 0x8282DCC4994E35C8ull);
  CHECK(xxh64(buffer.data(), 222) == 0xB641AE8CB691C174ull);
  CHECK(xxh64(buffer.data(), 222, 2654435761u) == 0x20CB8AB7AE10C14Aull);
  CHECK(hex64(0x0123456789abcdefull) == "0123456789abcdef");
}

TEST_CASE("safetensors: every element type, scalars, empty tensors, any name and metadata come back") {
  temp_folder t;
  std::vector<unsigned char> raw(24 * 8);
  for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<unsigned char>(i * 7 + 3);
  std::vector<tensor_ref> all;
  for (const auto& row : detail::dtype_table) all.push_back({row.name, row.dtype, {2, 3, 4}, raw.data()});
  all.push_back({"scalar", tensor_dtype::f32, {}, raw.data() + 5});
  all.push_back({"empty", tensor_dtype::bf16, {3, 0, 5}, nullptr});
  all.push_back({"", tensor_dtype::u8, {1}, raw.data() + 9});
  all.push_back({"odd \"name\"\n\xE2\x82\xAC", tensor_dtype::u8, {1, 1, 1, 1, 1, 1, 1, 7}, raw.data() + 11});
  const std::map<std::string, std::string> metadata = {
      {"config", "{\"lr\":0.1}"}, {"", "\x01\t"}, {"polymoe.step", "12"}};
  write_safetensors(t.file("a.st"), all, metadata);

  const safetensors_file f(t.file("a.st"));
  CHECK(f.has_checksums());
  CHECK(f.metadata() == metadata);
  CHECK(f.names().size() == all.size());
  for (const auto& a : all) {
    CAPTURE(a.name);
    const auto& b = f.at(a.name);
    CHECK(b.dtype == a.dtype);
    CHECK(b.dims == a.dims);
    REQUIRE(b.bytes() == a.bytes());
    if (a.bytes() > 0) CHECK(std::memcmp(a.data, b.data, static_cast<std::size_t>(a.bytes())) == 0);
    // Tensors lie at multiples of their element size.
    CHECK(reinterpret_cast<std::uintptr_t>(b.data) % static_cast<std::uintptr_t>(dtype_bytes(b.dtype)) == 0);
  }
  CHECK(f.find("none") == nullptr);
  CHECK(has(message_of<error>([&] { f.at("none"); }), "no tensor is named \"none\""));

  write_safetensors(t.file("none.st"), {});
  CHECK(safetensors_file(t.file("none.st")).tensors().empty());
  CHECK(t.count() == 2);  // no temporary is left
}

TEST_CASE("safetensors: copy_to checks type and size; a moved file keeps its tensors") {
  temp_folder t;
  const std::vector<float> x{1, 2, 3, 4, 5, 6};
  const std::vector<bf16> h{bf16(1.5f)};
  write_safetensors(t.file("a.st"), std::vector{make_tensor("x", {2, 3}, x.data()), make_tensor("h", {1}, h.data())});
  safetensors_file first(t.file("a.st"));
  const safetensors_file f = std::move(first);
  std::vector<float> y(6);
  f.copy_to<float>("x", y);
  CHECK(x == y);
  std::vector<bf16> g(1);
  f.copy_to<bf16>("h", g);
  CHECK(static_cast<float>(g[0]) == 1.5f);
  std::vector<double> wrong(6);
  CHECK(has(message_of<error>([&] { f.copy_to<double>("x", wrong); }), "x holds F32, expected F64"));
  y.resize(5);
  CHECK(has(message_of<error>([&] { f.copy_to<float>("x", y); }), "x has 6 elements, expected 5"));
}

TEST_CASE("safetensors: every changed bit, every cut and every extra byte is found") {
  temp_folder t;
  const std::vector<float> x{1, -2, 3.5f};
  const std::uint8_t u[] = {7, 8, 9};
  for (const bool empty : {false, true}) {
    std::vector<tensor_ref> tensors;
    if (!empty) tensors = {make_tensor("w", {3}, x.data()), make_tensor("u", {3, 1}, u)};
    write_safetensors(t.file("a.st"), tensors, {{"k", "v"}});
    const std::string good = t.get("a.st");
    CHECK(good.size() < 520);
    CHECK(parse_error(good).empty());
    for (std::size_t i = 0; i < good.size(); ++i)
      for (int change = 1; change < 256; ++change) {
        std::string bad = good;
        bad[i] = static_cast<char>(bad[i] ^ change);
        if (!has(parse_error(bad), "f.st: ")) FAIL("byte ", i, " xor ", change, " was not found");
      }
    for (std::size_t n = 0; n < good.size(); ++n) REQUIRE(has(parse_error(good.substr(0, n)), "f.st: "));
    for (const char* extra : {" ", "x", "        "}) CHECK(has(parse_error(good + extra), "f.st: "));
    // Inserted and removed bytes, the header's length adjusted or not.
    for (std::size_t i = 0; i <= good.size(); ++i)
      for (const int n : {0, 1}) {
        std::string bad = good;
        bad.insert(i, "0");
        bad[0] = static_cast<char>(bad[0] + n);
        if (bad != good) REQUIRE_FALSE(parse_error(bad).empty());
      }
    for (std::size_t i = 8; i < good.size(); ++i)
      for (const int n : {0, 1}) {
        std::string bad = good;
        bad.erase(i, 1);
        bad[0] = static_cast<char>(bad[0] - n);
        REQUIRE_FALSE(parse_error(bad).empty());
      }
  }
  std::string flipped = t.get("a.st");
  write_safetensors(t.file("a.st"), std::vector{make_tensor("w", {3}, x.data())});
  flipped = t.get("a.st");
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  CHECK(has(parse_error(flipped), "w: the checksum of its 12 bytes is"));
}

TEST_CASE("safetensors: files of other programs are read without checksums") {
  const auto f = parse(foreign("{" + entry("b", "F32", "1", "2,6") + "," + entry("a", "I16", "1", "0,2") +
                                   ",\"__metadata__\":{\"format\":\"pt\"}}   ",
                               "123456"));
  CHECK_FALSE(f.has_checksums());
  CHECK(f.names() == std::vector<std::string>{"a", "b"});
  CHECK(f.metadata().at("format") == "pt");
  float x = 0, want = 0;
  f.copy_to<float>("b", std::span(&x, 1));  // not aligned in the file
  std::memcpy(&want, "3456", 4);
  CHECK(x == want);
  CHECK(parse(foreign("{}")).tensors().empty());
  // Empty tensors at the same place as others, in any order.
  CHECK(parse(foreign("{" + entry("e", "F64", "0,4", "4,4") + "," + entry("a", "F32", "1", "0,4") + "," +
                          entry("z", "U8", "0", "0,0") + "}",
                      "abcd"))
            .tensors()
            .size() == 3);
}

TEST_CASE("safetensors: hostile headers are refused with file and byte") {
  const std::string ok = entry("a", "F32", "2", "0,8"), data = "12345678";
  CHECK(parse_error(foreign("{" + ok + "}", data)).empty());
  const auto bad = [&](const std::string& header, const char* part, const std::string& body = "12345678") {
    const std::string m = parse_error(foreign(header, body));
    CAPTURE(header);
    CAPTURE(m);
    CHECK(has(m, "f.st: "));
    CHECK(has(m, part));
  };
  CHECK(has(parse_error(""), "0 bytes, expected at least 8"));
  CHECK(has(parse_error(std::string(8, '\xff')), "at most 100000000"));  // 8 + length would wrap
  CHECK(has(parse_error(foreign("{}").substr(0, 9)), "the header has 2 bytes, the file only 1"));
  bad("", "expected '{'");
  bad(" {}", "expected '{'");
  bad("[]", "expected '{'");
  bad("{" + ok + "}x", "expected the end");
  bad("{" + ok + "," + ok + "}", "stands twice");
  bad("{" + ok + ",\"\\u0061\":1}", "stands twice");
  bad("{" + entry("a", "F32", "2", "0,8") + "," + entry("b", "F32", "1", "4,8") + "}",
      "the tensor before it ends at 8");
  bad("{" + entry("a", "U8", "2", "0,2") + "," + entry("b", "F32", "1", "4,8") + "}", "data begins at 4");
  bad("{" + entry("a", "F32", "1", "4,8") + "}", "data begins at 4");
  bad("{" + entry("a", "F32", "1", "0,4") + "}", "the tensors have 4 bytes, the file 8");
  bad("{" + entry("a", "F32", "4", "0,16") + "}", "the file has 8 bytes of data");
  bad("{" + entry("a", "F32", "3", "0,8") + "}", "its shape needs 12 bytes, its offsets span 8");
  bad("{" + entry("a", "F32", "2", "8,0") + "}", "two rising offsets");
  bad("{" + entry("a", "F32", "2", "0") + "}", "two rising offsets");
  bad("{" + entry("a", "F32", "2", "0,8,8") + "}", "two rising offsets");
  // Products that wrap 64 bits to 8: elements, and elements times bytes.
  bad("{" + entry("a", "U8", "4294967296,4294967296,8", "0,8") + "}", "62 bits");
  bad("{" + entry("a", "F64", "2305843009213693953", "0,8") + "}", "62 bits");
  bad("{" + entry("a", "F32", "18446744073709551614", "0,8") + "}", "larger than 2^62");
  bad("{" + entry("a", "F32", "2", "0,18446744073709551624") + "}", "does not fit in 64 bits");
  bad("{" + entry("a", "F32", "4611686018427387904,0", "0,0") + "}", "the tensors have 0 bytes, the file 8");
  bad("{" + entry("a", "F32", "2.0", "0,8") + "}", "fraction");
  bad("{" + entry("a", "F32", "2e0", "0,8") + "}", "fraction or an exponent");
  bad("{" + entry("a", "F32", "-2", "0,8") + "}", "unsigned integer");
  bad("{" + entry("a", "F32", "02", "0,8") + "}", "leading zero");
  bad("{" + entry("a", "F32", "\"2\"", "0,8") + "}", "unsigned integer");
  bad("{" + entry("a", "F32", "1,1,1,1,1,1,1,1,2", "0,8") + "}", "more than 8 dimensions");
  bad("{" + entry("a", "f32", "2", "0,8") + "}", "unknown element type \"f32\"");
  bad("{" + entry("a", "F4", "2", "0,8") + "}", "unknown element type");
  bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "2 of the 3 fields");
  bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", "unknown field \"x\"");
  bad("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", "stands twice");
  bad("{\"a\":[]}", "expected '{'");
  bad("{\"__metadata__\":{\"a\":1}," + ok + "}", "expected '\"'");
  bad("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}," + ok + "}", "stands twice");
  bad("{\"\xFF\":1}", "not UTF-8");
  bad("{" + ok + ",\"__metadata__\":{\"polymoe.checksum\":\"xxh64\"}}", "\"polymoe.checksum.header\" is missing");
  bad("{" + ok + ",\"__metadata__\":{\"polymoe.checksum.header\":\"0000000000000000\"}}",
      "\"polymoe.checksum\" is missing");
  std::string many = "{";
  for (int i = 0; i <= 100000; ++i) many += entry(std::to_string(i), "U8", "0", "0,0") + ",";
  many.back() = '}';
  bad(many, "more than 100000 tensors", "");
}

TEST_CASE("safetensors: the writer refuses what it could not read back") {
  temp_folder t;
  const float x[4] = {};
  const auto bad = [&](std::vector<tensor_ref> tensors, const char* part, std::map<std::string, std::string> m = {}) {
    CHECK(has(message_of<error>([&] { write_safetensors(t.file("a.st"), tensors, m); }), part));
    CHECK(t.count() == 0);
  };
  bad({make_tensor("a", {2}, x), make_tensor("a", {2}, x)}, "two tensors are named \"a\"");
  bad({make_tensor("__metadata__", {2}, x)}, "cannot be stored");
  bad({make_tensor("\xFF", {2}, x)}, "cannot be stored");
  bad({make_tensor("a", {-1}, x)}, "a has the size -1");
  bad({make_tensor("a", {index{1} << 40, index{1} << 40}, x)}, "62 bits");
  bad({make_tensor("a", std::vector<index>(9, 1), x)}, "9 dimensions, at most 8");
  bad({make_tensor<float>("a", {2}, nullptr)}, "8 bytes but no data");
  bad({}, "is reserved", {{"polymoe.checksum.x", ""}});
  bad({}, "is not UTF-8", {{"a", "\xFF"}});
}

TEST_CASE("safetensors: a write that fails leaves the old file, and nothing beside it") {
  temp_folder t;
  std::vector<float> x(100000, 1.0f);
  const std::vector tensors{make_tensor("x", {100000}, x.data())};
  write_safetensors(t.file("a.st"), tensors);
  const std::string before = t.get("a.st");
  x[0] = 2;
  {
    // A limit on the size of files acts like a full disk, also for root.
    const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
    rlimit old{};
    getrlimit(RLIMIT_FSIZE, &old);
    for (const rlim_t limit : {0, 100, 5000, 399999}) {
      rlimit small = old;
      small.rlim_cur = limit;
      setrlimit(RLIMIT_FSIZE, &small);
      const std::string m = message_of<error>([&] { write_safetensors(t.file("a.st"), tensors); });
      setrlimit(RLIMIT_FSIZE, &old);
      CHECK(has(m, t.file("a.st") + ": cannot write at byte " + std::to_string(limit)));
      CHECK(has(m, "File too large"));
    }
    ::signal(SIGXFSZ, old_handler);
  }
  CHECK(t.get("a.st") == before);
  CHECK(t.count() == 1);
  CHECK(has(message_of<error>([&] { write_safetensors(t.file("no/a.st"), tensors); }), "No such file or directory"));
  // A folder in which nobody may make a file.
  CHECK(has(message_of<error>([&] { write_safetensors("/proc/self/a.st", tensors); }),
            "/proc/self/a.st: cannot create a file in its folder: "));
  CHECK(has(message_of<error>([&] { write_safetensors("/dev/full", tensors); }), "refusing to replace a device"));
  CHECK(has(message_of<error>([&] { write_safetensors(t.path, tensors); }), "refusing to replace a folder"));
  CHECK_THROWS_AS(write_safetensors("", tensors), error);
  // A caller that gives up half way.
  {
    atomic_file f(t.file("a.st"));
    f.write("half");
    CHECK(t.count() == 2);
  }
  CHECK(t.count() == 1);
  CHECK(t.get("a.st") == before);
  write_safetensors(t.file("a.st"), tensors);
  CHECK(t.get("a.st") != before);
}

TEST_CASE("safetensors: a process killed at any moment leaves a whole file") {
  temp_folder t;
  const auto save = [&](float value) {
    const std::vector<float> x(50000, value);
    write_safetensors(t.file("a.st"), std::vector{make_tensor("x", {50000}, x.data())});
  };
  save(0);
  int changed = 0;
  for (int round = 0; round < 25; ++round) {
    const std::string before = t.get("a.st");
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      for (int i = 0;; ++i) save(static_cast<float>(round * 1000 + i));
    }
    ::usleep(static_cast<useconds_t>(1000 + 977 * round % 15000));
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));  // it did not end by an error of its own
    const safetensors_file f(t.file("a.st"));
    std::vector<float> x(50000);
    f.copy_to<float>("x", x);
    REQUIRE(std::all_of(x.begin(), x.end(), [&](float v) { return v == x[0]; }));
    changed += t.get("a.st") != before;
  }
  CHECK(changed > 0);  // the children did write
}

TEST_CASE("file: replacing follows links, keeps access rights and needs no free name") {
  temp_folder t;
  t.put("real", "old");
  std::filesystem::create_symlink(t.file("real"), t.file("link"));
  std::filesystem::permissions(t.file("real"), std::filesystem::perms(0640));
  write_text(t.file("link"), "new");
  CHECK(std::filesystem::is_symlink(t.file("link")));
  CHECK(t.get("real") == "new");
  CHECK((std::filesystem::status(t.file("real")).permissions() & std::filesystem::perms(0777)) ==
        std::filesystem::perms(0640));
  std::filesystem::create_symlink(t.file("nowhere"), t.file("lost"));
  CHECK(has(message_of<error>([&] { write_text(t.file("lost"), "x"); }), "a link that leads nowhere"));
  // Left over from a killed process of the same number: stepped over.
  for (int i = 0; i < 200; ++i) t.put(".polymoe-" + std::to_string(::getpid()) + "-" + std::to_string(i) + ".tmp", "");
  write_text(t.file("real"), "newer");
  CHECK(t.get("real") == "newer");
}

TEST_CASE("file: a full disk is an error with the reason") {
  const detail::descriptor full(::open("/dev/full", O_WRONLY));
  REQUIRE(full.fd >= 0);
  CHECK(has(message_of<error>([&] { detail::write_all(full.fd, "abc", 3, "x.st", 40); }),
            "x.st: cannot write at byte 40 (3 bytes to go): No space left on device"));
  append_file log("/dev/full");
  CHECK(has(message_of<error>([&] { log.line("row"); }), "No space left on device"));
}

}  // namespace polymoe
