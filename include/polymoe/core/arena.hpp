// arena: hands out aligned pieces of one block that the caller owns.
//
// A dry pass over the same code measures: an arena without a block counts bytes and hands out null views.  Allocate
// that many bytes, attach them, and run the code again.  `mark`/`release` make it a stack;
// `peak` remembers the highest use.
#pragma once

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "view.hpp"

namespace polymoe::inline v0 {

class arena {
 public:
  static constexpr std::size_t alignment = 64;

  arena() = default;
  /// `block` must be aligned to 64 bytes and stay alive as long as the views handed out.
  arena(void* block, std::size_t bytes) : base_(static_cast<std::byte*>(block)), capacity_(bytes) {}

  bool dry() const { return base_ == nullptr; }
  std::size_t used() const { return used_; }
  std::size_t peak() const { return peak_; }
  std::size_t capacity() const { return capacity_; }

  /// `n` elements of a plain type.
  template <class U>
  U* take_raw(index n) {
    const std::size_t bytes =
        static_cast<std::size_t>(checked_mul(n < 0 ? 0 : n, static_cast<index>(sizeof(U)), "arena"));
    const std::size_t begin = used_;
    used_ = begin + (bytes + alignment - 1) / alignment * alignment;
    peak_ = std::max(peak_, used_);
    if (dry()) return nullptr;
    require(used_ <= capacity_, "arena: ", used_, " bytes needed, the block has ", capacity_);
    return reinterpret_cast<U*>(base_ + begin);
  }
  /// A contiguous [rows, cols] tensor, with both planes for dual numbers.
  template <class T>
  view<T> take(index rows, index cols) {
    const index n = checked_mul(rows, cols, "arena");
    view<T> v;
    for (int i = 0; i < view<T>::planes; ++i) v.ptr[i] = take_raw<storage_t<T>>(n);
    v.rows = rows, v.cols = cols, v.stride = cols;
    return v;
  }

  std::size_t mark() const { return used_; }
  void release(std::size_t m) { used_ = m; }

 private:
  std::byte* base_ = nullptr;
  std::size_t capacity_ = 0, used_ = 0, peak_ = 0;
};

/// Releases what was taken since its construction.
class arena_scope {
 public:
  explicit arena_scope(arena& a) : arena_(a), mark_(a.mark()) {}
  ~arena_scope() { arena_.release(mark_); }
  arena_scope(const arena_scope&) = delete;
  arena_scope& operator=(const arena_scope&) = delete;

 private:
  arena& arena_;
  std::size_t mark_;
};

/// A block of bytes with one owner: the simplest memory under an arena.  `Memory` has allocate(bytes), which fills what
/// it gives with 0xFF (NaN in every float format) so that code which reads memory nobody wrote is found, and
/// release(pointer).
template <class Memory>
class owned_block {
 public:
  owned_block() = default;
  explicit owned_block(std::size_t bytes) : data_(bytes ? Memory::allocate(bytes) : nullptr), bytes_(bytes) {}
  ~owned_block() {
    if (data_) Memory::release(data_);
  }
  owned_block(owned_block&& o) noexcept : data_(std::exchange(o.data_, nullptr)), bytes_(std::exchange(o.bytes_, 0)) {}
  owned_block& operator=(owned_block&& o) noexcept {
    std::swap(data_, o.data_), std::swap(bytes_, o.bytes_);
    return *this;
  }
  void* data() const { return data_; }
  std::size_t size() const { return bytes_; }
  arena as_arena() const { return {data_, bytes_}; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Memory of the host, aligned to 64 bytes.  What every kind of memory offers: allocate and release as above, and
/// copies from and to the host in the order of a stream.
struct host_memory {
  static constexpr bool on_host = true;  ///< host code may read and write it
  static void* allocate(std::size_t bytes) {
    void* p = ::operator new(bytes, std::align_val_t{arena::alignment});
    return std::memset(p, 0xFF, bytes);
  }
  static void release(void* p) { ::operator delete(p, std::align_val_t{arena::alignment}); }
  /// Host to this memory; `from` may be reused when it returns.
  template <class Stream>
  static void write(const Stream&, void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  /// This memory to the host; waits for what the stream has to do before.
  template <class Stream>
  static void read(const Stream&, void* to, const void* from, std::size_t bytes) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  }
  template <class Stream>
  static void zero(const Stream&, void* p, std::size_t bytes) {
    if (bytes > 0) std::memset(p, 0, bytes);
  }
};
using aligned_block = owned_block<host_memory>;

}  // namespace polymoe
