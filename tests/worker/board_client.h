// A ParameterClient that has a rendezvous board and health, and nothing else: for
// tests of what meets on the board. Several clients share one Board.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "worker/parameter_client.h"

namespace pagoda {

struct Board {
  std::mutex mutex;
  std::condition_variable changed;
  std::map<std::string, std::string> values;
  absl::Status health;

  void Fail(const absl::Status& cause) {
    std::lock_guard<std::mutex> lock(mutex);
    health = cause;
    changed.notify_all();
  }
};

class BoardClient final : public ParameterClient {
 public:
  explicit BoardClient(Board* board) : board_(board) {}

  int num_servers() const override { return 1; }
  absl::Status Open(const SessionOptions&) override { return absl::OkStatus(); }
  void Pull(std::vector<TablePull>, Step, Done done) override { done(Absent()); }
  void Push(Step, std::vector<TablePush>, float, Done done) override { done(Absent()); }
  absl::StatusOr<std::vector<ServerCut>> PrepareCut(const std::string&) override {
    return Absent();
  }
  absl::Status DropCut(const std::string&) override { return Absent(); }
  absl::Status RestoreCut(const CutRestore&) override { return Absent(); }
  absl::StatusOr<std::vector<uint64_t>> ImportRows(const RowImport&) override { return Absent(); }
  absl::StatusOr<std::vector<proto::TableStatReply>> TableStats() override { return Absent(); }

  absl::Status SetKey(const std::string& key, const std::string& value) override {
    std::lock_guard<std::mutex> lock(board_->mutex);
    board_->values[key] = value;
    board_->changed.notify_all();
    return board_->health;
  }
  absl::StatusOr<std::string> GetKey(const std::string& key, absl::Duration timeout) override {
    std::unique_lock<std::mutex> lock(board_->mutex);
    const bool found = board_->changed.wait_for(lock, absl::ToChronoMilliseconds(timeout), [&] {
      return !board_->health.ok() || board_->values.count(key) > 0;
    });
    if (!board_->health.ok()) return board_->health;
    if (!found) return absl::DeadlineExceededError(absl::StrCat("nobody has set ", key));
    return board_->values[key];
  }
  absl::Status Health() const override {
    std::lock_guard<std::mutex> lock(board_->mutex);
    return board_->health;
  }
  void Leave(const absl::Status&) override {}

 private:
  static absl::Status Absent() { return absl::UnimplementedError("only a board"); }

  Board* const board_;
};

}  // namespace pagoda
