// A struct of atomics that a test shares with processes it kills: it lies in a file mapped
// by each of them, so that what one has stored there outlives it.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace pagoda {

// Made of zeros where there is no file yet. Stays mapped until the process ends.
// Errors: those of the system's calls, with the path.
template <typename Progress>
absl::StatusOr<Progress*> MapProgress(const std::string& path) {
  static_assert(std::is_standard_layout_v<Progress>);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("opening ", path));
  void* memory = MAP_FAILED;
  if (::ftruncate(fd, sizeof(Progress)) == 0) {
    memory = ::mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  const int error = errno;
  ::close(fd);
  if (memory == MAP_FAILED) return absl::ErrnoToStatus(error, absl::StrCat("mapping ", path));
  return static_cast<Progress*>(memory);
}

}  // namespace pagoda
