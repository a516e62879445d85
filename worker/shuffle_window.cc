#include "worker/shuffle_window.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "base/status_macros.h"

namespace pagoda {
namespace {

// Below malloc's threshold for giving memory back to the system (128 KiB).
constexpr size_t kBlockBytes = 64 << 10;

}  // namespace

double SplitPoint(uint64_t split_seed, int64_t file, int64_t row) {
  constexpr double kScale = 1.0 / 9007199254740992.0;  // 2^-53
  const RandomKey key = RandomKey{split_seed}.Derive(static_cast<uint64_t>(file));
  return static_cast<double>(RandomBits(key, static_cast<uint64_t>(row)) >> 11) * kScale;
}

WindowReader::WindowReader(std::vector<std::string> files, const WindowOptions& options)
    : options_(options), files_(files), source_(std::move(files), options.lines) {
  PAGODA_CHECK(options.rows > 0 && options.rows <= kWindowRowsMax);
  at_ = EpochStart(0);
}

WindowStart WindowReader::EpochStart(int64_t epoch) const {
  return WindowStart{epoch, 0, source_.start(), 0};
}

absl::Status WindowReader::Seek(const WindowStart& start) {
  PAGODA_RETURN_IF_ERROR(source_.Seek(start.place));
  at_ = start;
  return absl::OkStatus();
}

char* WindowReader::Allocate(Window& window, size_t size) {
  if (size > block_room_) {
    block_room_ = std::max(size, kBlockBytes);
    window.blocks.emplace_back(new char[block_room_]);
    block_ = window.blocks.back().get();
  }
  char* const out = block_;
  block_ += size;
  block_room_ -= size;
  return out;
}

// Fisher and Yates, from the end, with a fresh random number per position.
void WindowReader::Permute(Window& window) const {
  const RandomKey key = RandomKey{options_.seed}
                            .Derive(static_cast<uint64_t>(window.start.epoch))
                            .Derive(static_cast<uint64_t>(window.start.window));
  for (uint64_t i = window.rows.size(); i > 1; --i) {
    std::swap(window.rows[i - 1], window.rows[RandomBelow(key, i, i)]);
  }
}

absl::StatusOr<std::shared_ptr<const Window>> WindowReader::Next() {
  auto window = std::make_shared<Window>();
  window->start = at_;
  block_room_ = 0;
  const double disk_size = static_cast<double>(std::max<int64_t>(1, source_.disk_size()));
  window->progress_begin = static_cast<double>(source_.disk_position()) / disk_size;
  const bool filter = options_.split_begin > 0.0 || options_.split_end < 1.0;

  Line line;
  while (static_cast<int64_t>(window->rows.size()) < options_.rows) {
    PAGODA_ASSIGN_OR_RETURN(const bool more, source_.Next(&line));
    if (!more) {
      window->last = true;
      break;
    }
    if (filter) {
      const double point = SplitPoint(options_.split_seed, line.file, line.row);
      if (point < options_.split_begin || point >= options_.split_end) continue;
    }
    char* const text = Allocate(*window, line.text.size());
    std::memcpy(text, line.text.data(), line.text.size());
    window->rows.push_back(
        RawRow{text, static_cast<uint32_t>(line.text.size()), line.file, line.line, line.too_long});
  }
  const int64_t rows_after = at_.row + static_cast<int64_t>(window->rows.size());
  if (window->last && rows_after == 0 && options_.lines.file_stride == 1) {
    return absl::InvalidArgumentError(
        absl::StrCat(files_[static_cast<size_t>(source_.start().file)],
                     files_.size() > 1 ? absl::StrCat(" and ", files_.size() - 1, " more") : "",
                     ": the data has no rows", filter ? " in this part of the split" : ""));
  }
  window->progress_end = static_cast<double>(source_.disk_position()) / disk_size;
  if (window->last) {
    at_ = EpochStart(at_.epoch + 1);
    PAGODA_RETURN_IF_ERROR(source_.Seek(at_.place));
  } else {
    at_ = WindowStart{at_.epoch, at_.window + 1, source_.position(), rows_after};
  }
  window->next = at_;
  if (options_.shuffle) Permute(*window);
  return window;
}

}  // namespace pagoda
