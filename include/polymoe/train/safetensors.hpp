// Tensors on disk in the safetensors format, with a checksum of everything.
//
// A file is: N (8 bytes, little endian), a JSON header of N bytes, the data.  The reader validates all of it before it
// hands out a tensor, in the order of the reference implementation plus stricter rules: header bytes bounded, no
// duplicate names, counts and ranks bounded, every product checked, tensors cover the data without hole or overlap.
//
// Checksums are entries of `__metadata__`, so other readers of the format ignore them:
//   polymoe.checksum                 "xxh64"
//   polymoe.checksum.header          digest of N and the header, with these sixteen digits read as zeros
//   polymoe.checksum.tensor.<name>   digest of the tensor's bytes
// One changed byte anywhere is found: it is in the data, in a digest, or in text that the header digest covers, and a
// file that has lost one of the entries still has another that asks for it.
#pragma once

#include <algorithm>
#include <map>
#include <span>

#include "../core/dtype.hpp"
#include "file.hpp"
#include "hash.hpp"
#include "json_reader.hpp"

namespace polymoe::inline v0 {

/// Element types of the format that have whole bytes.
enum class tensor_dtype { f64, f32, f16, bf16, i64, i32, i16, i8, u64, u32, u16, u8, boolean, f8_e4m3, f8_e5m2 };

namespace detail {
struct dtype_row {
  tensor_dtype dtype;
  const char* name;
  index bytes;
};
inline constexpr dtype_row dtype_table[] = {
    {tensor_dtype::f64, "F64", 8},      {tensor_dtype::f32, "F32", 4},         {tensor_dtype::f16, "F16", 2},
    {tensor_dtype::bf16, "BF16", 2},    {tensor_dtype::i64, "I64", 8},         {tensor_dtype::i32, "I32", 4},
    {tensor_dtype::i16, "I16", 2},      {tensor_dtype::i8, "I8", 1},           {tensor_dtype::u64, "U64", 8},
    {tensor_dtype::u32, "U32", 4},      {tensor_dtype::u16, "U16", 2},         {tensor_dtype::u8, "U8", 1},
    {tensor_dtype::boolean, "BOOL", 1}, {tensor_dtype::f8_e4m3, "F8_E4M3", 1}, {tensor_dtype::f8_e5m2, "F8_E5M2", 1}};

inline const dtype_row& row_of(tensor_dtype d) {
  for (const auto& r : dtype_table)
    if (r.dtype == d) return r;
  fail("safetensors: no element type has the number ", static_cast<int>(d));
}

template <class T>
struct tensor_dtype_of;
#define POLYMOE_TENSOR_DTYPE(type, value)                      \
  template <>                                                  \
  struct tensor_dtype_of<type> {                               \
    static constexpr tensor_dtype dtype = tensor_dtype::value; \
  }
POLYMOE_TENSOR_DTYPE(double, f64);
POLYMOE_TENSOR_DTYPE(float, f32);
POLYMOE_TENSOR_DTYPE(bf16, bf16);
POLYMOE_TENSOR_DTYPE(std::int64_t, i64);
POLYMOE_TENSOR_DTYPE(std::int32_t, i32);
POLYMOE_TENSOR_DTYPE(std::int16_t, i16);
POLYMOE_TENSOR_DTYPE(std::int8_t, i8);
POLYMOE_TENSOR_DTYPE(std::uint64_t, u64);
POLYMOE_TENSOR_DTYPE(std::uint32_t, u32);
POLYMOE_TENSOR_DTYPE(std::uint16_t, u16);
POLYMOE_TENSOR_DTYPE(std::uint8_t, u8);
POLYMOE_TENSOR_DTYPE(bool, boolean);
#undef POLYMOE_TENSOR_DTYPE
}  // namespace detail

/// "F32" and so on.
inline const char* dtype_name(tensor_dtype d) { return detail::row_of(d).name; }
/// Bytes of one element.
inline index dtype_bytes(tensor_dtype d) { return detail::row_of(d).bytes; }
/// The element type of the C++ type T.
template <class T>
inline constexpr tensor_dtype tensor_dtype_of = detail::tensor_dtype_of<std::remove_cv_t<T>>::dtype;

/// A named tensor that somebody else owns, row-major.
struct tensor_ref {
  std::string name;
  tensor_dtype dtype = tensor_dtype::f32;
  std::vector<index> dims;     ///< empty: a scalar; a 0 anywhere: no elements
  const void* data = nullptr;  ///< may be null when there are no elements

  /// Product of the dims; throws when one is negative or the bytes exceed 2^62.
  index elements() const {
    index n = 1;
    for (const index d : dims) {
      require(d >= 0, "safetensors: ", name, " has the size ", d);
      n = checked_mul(n, d, "safetensors");
    }
    checked_mul(n, dtype_bytes(dtype), "safetensors");
    return n;
  }
  index bytes() const { return elements() * dtype_bytes(dtype); }
};

/// A reference to `data` with the element type of T.
template <class T>
tensor_ref make_tensor(std::string name, std::vector<index> dims, const T* data) {
  return {std::move(name), tensor_dtype_of<T>, std::move(dims), data};
}

namespace detail::st {
inline constexpr std::uint64_t max_header = 100'000'000;
inline constexpr std::size_t max_tensors = 100'000;
inline constexpr std::size_t max_rank = 8;
inline constexpr std::string_view mark = "polymoe.checksum";
inline constexpr std::string_view mark_header = "polymoe.checksum.header";
inline constexpr std::string_view mark_tensor = "polymoe.checksum.tensor.";

/// Digest of N and the header, the sixteen digits at `digits` read as zeros.
inline std::uint64_t header_digest(std::string_view length_and_header, std::size_t digits) {
  std::string blanked(length_and_header);
  blanked.replace(digits, 16, 16, '0');
  return xxh64(blanked.data(), blanked.size());
}
}  // namespace detail::st

/// Writes a file that holds the tensors and the metadata, atomically: when this throws, the old file is as it was.
/// The header lists tensors by falling element size (so that each is aligned), else in the order given.
/// Refused: equal or non-UTF-8 names, the name "__metadata__", metadata keys that start with "polymoe.checksum".
inline void write_safetensors(const std::string& path, std::span<const tensor_ref> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  namespace st = detail::st;
  require(tensors.size() <= st::max_tensors, path, ": ", tensors.size(), " tensors, at most ", st::max_tensors);
  std::vector<const tensor_ref*> order;
  std::unordered_set<std::string> names;
  for (const auto& t : tensors) {
    require(t.name != "__metadata__" && find_bad_utf8(t.name) == std::string_view::npos, path, ": the tensor name ",
            json_quote(t.name), " cannot be stored");
    require(names.insert(t.name).second, path, ": two tensors are named ", json_quote(t.name));
    require(t.dims.size() <= st::max_rank, path, ": ", t.name, " has ", t.dims.size(), " dimensions, at most ",
            st::max_rank);
    require(t.bytes() == 0 || t.data != nullptr, path, ": ", t.name, " has ", t.bytes(), " bytes but no data");
    order.push_back(&t);
  }
  std::stable_sort(order.begin(), order.end(), [](const tensor_ref* a, const tensor_ref* b) {
    return dtype_bytes(a->dtype) > dtype_bytes(b->dtype);
  });

  json_writer w;
  w.begin_object().key("__metadata__").begin_object();
  w.field(st::mark, "xxh64").field(st::mark_header, std::string(16, '0'));
  for (const auto* t : order)
    w.field(std::string(st::mark_tensor) + t->name, hex64(xxh64(t->data, static_cast<std::size_t>(t->bytes()))));
  for (const auto& [key, text] : metadata) {
    require(!std::string_view(key).starts_with(st::mark), path, ": the metadata key ", key, " is reserved");
    require(find_bad_utf8(key) == std::string_view::npos && find_bad_utf8(text) == std::string_view::npos, path,
            ": the metadata entry ", json_quote(key), " is not UTF-8");
    w.field(key, text);
  }
  w.end_object();
  index begin = 0;
  for (const auto* t : order) {
    const index end = begin + t->bytes();
    require(end <= (index{1} << 62), path, ": the tensors together exceed 2^62 bytes");
    w.key(t->name).begin_object().field("dtype", dtype_name(t->dtype)).key("shape").begin_array();
    for (const index d : t->dims) w.value(d);
    w.end_array().key("data_offsets").begin_array().value(begin).value(end).end_array().end_object();
    begin = end;
  }
  w.end_object();

  std::string header = w.str();
  header.resize((header.size() + 7) / 8 * 8, ' ');
  require(header.size() <= st::max_header, path, ": the header has ", header.size(), " bytes, at most ",
          st::max_header);
  const std::uint64_t n = header.size();
  std::string head(reinterpret_cast<const char*>(&n), 8);
  head += header;
  // The writer put the two marks first; the digits follow the second one and `":"`.
  const std::size_t digits = head.find(st::mark_header) + st::mark_header.size() + 3;
  head.replace(digits, 16, hex64(detail::st::header_digest(head, digits)));

  atomic_file out(path);
  out.write(head);
  for (const auto* t : order) out.write(t->data, static_cast<std::size_t>(t->bytes()));
  out.commit();
}

/// A whole file in memory, validated.  Tensors point into it and live as long as it does.
class safetensors_file {
 public:
  /// Reads and validates.  Every message has the file and the byte.
  explicit safetensors_file(const std::string& path) : safetensors_file(read_file(path), path) {}
  /// Validates bytes that are already in memory; `where` names them in messages.
  safetensors_file(std::vector<std::byte> bytes, std::string where)
      : bytes_(std::move(bytes)), where_(std::move(where)) {
    parse();
  }
  safetensors_file(safetensors_file&&) = default;
  safetensors_file& operator=(safetensors_file&&) = default;

  /// The tensor of that name, or null.
  const tensor_ref* find(std::string_view name) const {
    const auto it = by_name_.find(std::string(name));
    return it == by_name_.end() ? nullptr : &tensors_[it->second];
  }
  /// The tensor of that name; throws when there is none.
  const tensor_ref& at(std::string_view name) const {
    const auto* t = find(name);
    require(t != nullptr, where_, ": no tensor is named ", json_quote(name), " among its ", tensors_.size());
    return *t;
  }
  /// Copies a tensor out; throws unless type and number of elements are those of `out`.
  template <class T>
  void copy_to(std::string_view name, std::span<T> out) const {
    const auto& t = at(name);
    require(t.dtype == tensor_dtype_of<T>, where_, ": ", t.name, " holds ", dtype_name(t.dtype), ", expected ",
            dtype_name(tensor_dtype_of<T>));
    require(t.elements() == static_cast<index>(out.size()), where_, ": ", t.name, " has ", t.elements(),
            " elements, expected ", out.size());
    if (!out.empty()) std::memcpy(out.data(), t.data, out.size_bytes());
  }
  /// All tensors in the order of their data.
  const std::vector<tensor_ref>& tensors() const { return tensors_; }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& t : tensors_) out.push_back(t.name);
    return out;
  }
  /// What was given to the writer; without the checksum entries.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  /// Whether the file came with checksums (then they were right); files of other programs have none.
  bool has_checksums() const { return !checksums_.empty(); }

 private:
  template <class... Parts>
  void check(bool ok, std::size_t at, const Parts&... parts) const {
    require(ok, where_, ": byte ", at, ": ", parts...);
  }

  void parse() {
    namespace st = detail::st;
    const std::size_t size = bytes_.size();
    require(size >= 8, where_, ": ", size, " bytes, expected at least 8");
    std::uint64_t n = 0;
    std::memcpy(&n, bytes_.data(), 8);
    check(n <= st::max_header, 0, "the header has ", n, " bytes, at most ", st::max_header, " are accepted");
    check(n <= size - 8, 0, "the header has ", n, " bytes, the file only ", size - 8, " after its length");
    const std::string_view header(reinterpret_cast<const char*>(bytes_.data()) + 8, static_cast<std::size_t>(n));
    check(!header.empty() && header[0] == '{', 8, "expected '{' at the start of the header");

    json_reader r(header, where_, 8);
    std::string key;
    for (r.begin_object(); r.next_key(key);) {
      if (key == "__metadata__")
        read_metadata(r);
      else
        read_entry(r, key);
    }
    r.end();
    const std::size_t data = 8 + static_cast<std::size_t>(n);
    place(data);
    verify(data);
  }

  void read_metadata(json_reader& r) {
    std::string key;
    for (r.begin_object(); r.next_key(key);) {
      const std::size_t at = r.offset();
      std::string text = r.string();
      if (key == detail::st::mark_header) header_digits_ = at + 1;
      (key.starts_with(detail::st::mark) ? checksums_ : metadata_)[key] = std::move(text);
    }
  }

  struct extent {
    std::uint64_t begin = 0, end = 0;
    std::size_t at = 0;  ///< where the header says so
  };

  void read_entry(json_reader& r, const std::string& name) {
    namespace st = detail::st;
    tensor_ref t;
    extent x;
    x.at = r.offset();
    r.check(tensors_.size() < st::max_tensors, x.at, "more than ", st::max_tensors, " tensors");
    t.name = name;
    int fields = 0;
    std::string key;
    for (r.begin_object(); r.next_key(key); ++fields) {
      const std::size_t at = r.offset();
      if (key == "dtype") {
        const std::string text = r.string();
        const auto* row = std::find_if(std::begin(detail::dtype_table), std::end(detail::dtype_table),
                                       [&](const auto& d) { return text == d.name; });
        r.check(row != std::end(detail::dtype_table), at, name, ": unknown element type ", json_quote(text));
        t.dtype = row->dtype;
      } else if (key == "shape") {
        for (r.begin_array(); r.next_element();) {
          const std::size_t dim_at = r.offset();
          const std::uint64_t d = r.unsigned_integer();
          r.check(d <= (std::uint64_t{1} << 62), dim_at, name, ": the size ", d, " is larger than 2^62");
          r.check(t.dims.size() < st::max_rank, dim_at, name, ": more than ", st::max_rank, " dimensions");
          t.dims.push_back(static_cast<index>(d));
        }
      } else if (key == "data_offsets") {
        int count = 0;
        for (r.begin_array(); r.next_element(); ++count) {
          const std::uint64_t offset = r.unsigned_integer();
          (count == 0 ? x.begin : x.end) = offset;
        }
        r.check(count == 2 && x.begin <= x.end, at, name, ": expected two rising offsets, found ", count, " numbers ",
                x.begin, ", ", x.end);
      } else {
        r.check(false, at, name, ": unknown field ", json_quote(key));
      }
    }
    // Three known fields without duplicates are all three.
    r.check(fields == 3, x.at, name, ": ", fields, " of the 3 fields dtype, shape and data_offsets");
    tensors_.push_back(std::move(t));
    extents_.push_back(x);
  }

  /// Sorts by offset and checks that sizes fit, without hole or overlap, to the end of the file.
  void place(std::size_t data) {
    std::vector<std::size_t> order(tensors_.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
      const auto &x = extents_[a], &y = extents_[b];
      return std::pair(x.begin, x.end) != std::pair(y.begin, y.end)
                 ? std::pair(x.begin, x.end) < std::pair(y.begin, y.end)
                 : a < b;
    });
    const std::uint64_t available = bytes_.size() - data;
    std::vector<tensor_ref> sorted;
    std::uint64_t expected = 0;
    for (const std::size_t i : order) {
      auto& t = tensors_[i];
      const auto& x = extents_[i];
      check(x.begin == expected, x.at, t.name, ": data begins at ", x.begin, ", the tensor before it ends at ",
            expected);
      std::uint64_t need = 0;
      try {
        need = static_cast<std::uint64_t>(t.bytes());
      } catch (const error& e) {
        check(false, x.at, t.name, ": ", e.what());
      }
      check(need == x.end - x.begin, x.at, t.name, ": its shape needs ", need, " bytes, its offsets span ",
            x.end - x.begin);
      check(x.end <= available, x.at, t.name, ": data ends at ", x.end, ", the file has ", available, " bytes of data");
      t.data = bytes_.data() + data + x.begin;
      expected = x.end;
      sorted.push_back(std::move(t));
    }
    check(expected == available, data + expected, "the tensors have ", expected, " bytes, the file ", available);
    tensors_ = std::move(sorted);
    extents_.clear();
    for (std::size_t i = 0; i < tensors_.size(); ++i) by_name_[tensors_[i].name] = i;
  }

  void verify(std::size_t data) const {
    namespace st = detail::st;
    if (checksums_.empty()) return;
    const auto entry = [&](const std::string& key) -> const std::string& {
      const auto it = checksums_.find(key);
      require(it != checksums_.end(), where_, ": the checksum entry ", json_quote(key), " is missing");
      return it->second;
    };
    const std::string& kind = entry(std::string(st::mark));
    require(kind == "xxh64", where_, ": unknown checksum ", json_quote(kind), ", expected \"xxh64\"");
    const std::string& stored = entry(std::string(st::mark_header));
    const std::string_view head(reinterpret_cast<const char*>(bytes_.data()), data);
    check(stored.size() == 16 && head.substr(header_digits_, 16) == stored, header_digits_,
          "the header checksum is not sixteen digits");
    const std::string found = hex64(st::header_digest(head, header_digits_));
    check(found == stored, header_digits_, "the header's checksum is ", found, ", stored is ", stored);
    require(checksums_.size() == tensors_.size() + 2, where_, ": ", checksums_.size(), " checksum entries for ",
            tensors_.size(), " tensors");
    for (const auto& t : tensors_) {
      const std::string& want = entry(std::string(st::mark_tensor) + t.name);
      const std::string have = hex64(xxh64(t.data, static_cast<std::size_t>(t.bytes())));
      const auto at = static_cast<std::size_t>(static_cast<const std::byte*>(t.data) - bytes_.data());
      check(have == want, at, t.name, ": the checksum of its ", t.bytes(), " bytes is ", have, ", stored is ", want);
    }
  }

  std::vector<std::byte> bytes_;
  std::string where_;
  std::vector<tensor_ref> tensors_;
  std::vector<extent> extents_;
  std::map<std::string, std::size_t> by_name_;
  std::map<std::string, std::string> metadata_, checksums_;
  std::size_t header_digits_ = 0;
};

}  // namespace polymoe
