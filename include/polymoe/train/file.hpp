// Files: read whole, append line by line, and replace atomically.
//
// A reader of a checkpoint or report sees the old file or the new one, never half of one: `atomic_file` writes beside
// the target, syncs, renames over it and syncs the folder.  Without the first sync the rename may reach the disk before
// the data does; without the second it may not survive a power cut.  POSIX only.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "../core/error.hpp"

namespace polymoe::inline v0 {

namespace detail {

/// A POSIX descriptor that closes itself.
struct descriptor {
  int fd = -1;
  descriptor() = default;
  explicit descriptor(int f) : fd(f) {}
  descriptor(descriptor&& o) noexcept : fd(std::exchange(o.fd, -1)) {}
  descriptor& operator=(descriptor&& o) noexcept {
    if (this != &o) {
      if (fd >= 0) ::close(fd);
      fd = std::exchange(o.fd, -1);
    }
    return *this;
  }
  ~descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

inline std::string errno_text() { return std::strerror(errno); }

/// `require` with the system's reason after the parts.  The reason is read here, because the arguments of a call are
/// evaluated in any order: next to the system call it could be that of an older failure.
template <class... Parts>
void require_system(bool ok, const Parts&... parts) {
  if (!ok) fail(parts..., ": ", errno_text());
}

inline const char* file_kind(mode_t m) {
  return S_ISDIR(m) ? "a folder" : S_ISREG(m) ? "a regular file" : "a device, pipe or socket";
}

/// Writes all bytes; `at` is where in the file they go, for the message.
inline void write_all(int fd, const void* data, std::size_t bytes, const std::string& path, std::size_t at) {
  const char* p = static_cast<const char*>(data);
  std::size_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::write(fd, p + done, bytes - done);
    if (n < 0 && errno == EINTR) continue;
    require_system(n > 0, path, ": cannot write at byte ", at + done, " (", bytes - done, " bytes to go)");
    done += static_cast<std::size_t>(n);
  }
}

/// The folder of a path, with its slash; "./" when there is none.
inline std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "./" : path.substr(0, slash + 1);
}

}  // namespace detail

/// Whether a regular file (or a link to one) is there.
inline bool file_exists(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode);
}

/// All bytes of a regular file.  Throws `polymoe::error` when it is missing, not a regular file, larger than
/// `max_bytes`, or changes its size while it is read.
inline std::vector<std::byte> read_file(const std::string& path, index max_bytes = index{1} << 40) {
  struct stat st {};
  detail::require_system(::stat(path.c_str(), &st) == 0, path, ": cannot open");
  require(S_ISREG(st.st_mode), path, ": expected a regular file, found ", detail::file_kind(st.st_mode));
  const detail::descriptor in(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  detail::require_system(in.fd >= 0, path, ": cannot open");
  detail::require_system(::fstat(in.fd, &st) == 0, path, ": cannot read its size");
  const index size = st.st_size;
  require(size <= max_bytes, path, ": ", size, " bytes, at most ", max_bytes, " are accepted");
  std::vector<std::byte> bytes(static_cast<std::size_t>(size));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(in.fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    detail::require_system(n >= 0, path, ": cannot read at byte ", done);
    require(n > 0, path, ": ended at byte ", done, " while it was read, expected ", size, " bytes");
    done += static_cast<std::size_t>(n);
  }
  return bytes;
}

/// The bytes of a file as text.
inline std::string read_text(const std::string& path) {
  const auto bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// A file that appears under its name only when it is complete.  `commit` makes it so; destroyed before that, it leaves
/// the old file as it was and nothing beside it.  Links are followed; devices and folders are refused.
class atomic_file {
 public:
  explicit atomic_file(std::string path) : path_(std::move(path)) {
    require(!path_.empty(), "atomic_file: the path is empty");
    struct stat st {};
    if (::lstat(path_.c_str(), &st) == 0 && S_ISLNK(st.st_mode)) {
      char* real = ::realpath(path_.c_str(), nullptr);
      detail::require_system(real != nullptr, path_, ": a link that leads nowhere");
      path_ = real;
      std::free(real);
    }
    mode_t mode = 0;
    if (::stat(path_.c_str(), &st) == 0) {
      require(S_ISREG(st.st_mode), path_, ": refusing to replace ", detail::file_kind(st.st_mode));
      mode = st.st_mode & 07777;
    }
    static std::atomic<unsigned> counter{0};
    const std::string stem = detail::folder_of(path_) + ".polymoe-" + std::to_string(::getpid()) + "-";
    for (int tries = 0; out_.fd < 0; ++tries) {
      temporary_ = stem + std::to_string(counter++) + ".tmp";
      out_ = detail::descriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      // A crashed process of the same number may have left its temporary file: take the next name.
      const bool taken = out_.fd < 0 && errno == EEXIST && tries < 1000;
      if (out_.fd < 0 && !taken) {
        const std::string why = detail::errno_text();
        temporary_.clear();
        detail::fail(path_, ": cannot create a file in its folder: ", why);
      }
    }
    if (mode != 0 && ::fchmod(out_.fd, mode) != 0) {
      const std::string why = detail::errno_text();
      discard();  // a throwing constructor runs no destructor
      detail::fail(path_, ": cannot keep its access rights: ", why);
    }
  }
  atomic_file(const atomic_file&) = delete;
  atomic_file& operator=(const atomic_file&) = delete;
  ~atomic_file() { discard(); }

  void write(const void* data, std::size_t bytes) {
    require(out_.fd >= 0, path_, ": written to after it was committed");
    detail::write_all(out_.fd, data, bytes, path_, written_);
    written_ += bytes;
  }
  void write(std::string_view text) { write(text.data(), text.size()); }

  /// Puts the file in its place.  Throws when the disk refuses; the old file is then still there.
  void commit() {
    require(out_.fd >= 0, path_, ": committed twice");
    detail::require_system(::fsync(out_.fd) == 0, path_, ": cannot sync ", written_, " bytes");
    detail::require_system(::close(std::exchange(out_.fd, -1)) == 0, path_, ": cannot close");
    detail::require_system(::rename(temporary_.c_str(), path_.c_str()) == 0, path_, ": cannot rename");
    temporary_.clear();
    const std::string folder = detail::folder_of(path_);
    const detail::descriptor dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Some file systems cannot sync a folder and say EINVAL; they promise nothing that could be asked for here.
    detail::require_system(dir.fd >= 0 && (::fsync(dir.fd) == 0 || errno == EINVAL), path_,
                           ": written, but its folder could not be synced");
  }

 private:
  void discard() {
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    temporary_.clear();
  }

  std::string path_, temporary_;
  detail::descriptor out_;
  std::size_t written_ = 0;
};

/// Replaces the file by `text`, atomically.
inline void write_text(const std::string& path, std::string_view text) {
  atomic_file f(path);
  f.write(text);
  f.commit();
}

/// A file that only grows.  One `write` call of the system per line, so that lines of a killed process are whole.
class append_file {
 public:
  explicit append_file(std::string path) : path_(std::move(path)) {
    out_ = detail::descriptor(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
    detail::require_system(out_.fd >= 0, path_, ": cannot open for appending");
    struct stat st {};
    require(::fstat(out_.fd, &st) == 0 && !S_ISDIR(st.st_mode), path_, ": cannot append to it");
    size_ = static_cast<std::size_t>(st.st_size);
  }
  /// Adds `line` and a line end; nothing stays in a buffer.
  void line(std::string_view line) {
    text_.assign(line);
    text_ += '\n';
    try {
      detail::write_all(out_.fd, text_.data(), text_.size(), path_, size_);
    } catch (...) {
      // Half a line on a full disk would spoil the next one; when it cannot be taken back, the reader drops it.
      [[maybe_unused]] const int ignored = ::ftruncate(out_.fd, static_cast<off_t>(size_));
      throw;
    }
    size_ += text_.size();
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_, text_;
  detail::descriptor out_;
  std::size_t size_ = 0;
};

}  // namespace polymoe
