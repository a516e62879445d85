// A ParameterClient whose answers a test gives: rows are a plain function of (table,
// id, pushes so far), and calls may be held back, refused, or the job declared ill.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "worker/parameter_client.h"

namespace pagoda {

class ScriptedClient final : public ParameterClient {
 public:
  struct HeldCall {
    std::function<void()> perform;  // Reads or writes the rows.
    Done done;
    Step step = 0;
  };
  struct SeenPush {
    Step step = 0;
    float factor = 0.0f;
    std::map<std::pair<int, FeatureId>, std::vector<float>> gradients;
  };

  int64_t dim = 2;
  bool hold = false;  // Calls wait in `held` until the test releases them.
  std::deque<HeldCall> held;
  std::vector<SeenPush> pushes;
  std::map<std::pair<int, FeatureId>, float> changed;  // Rows that pushes have changed.
  std::map<std::pair<int, FeatureId>, std::pair<uint32_t, uint32_t>> statistics;
  std::vector<Step> pulls_after;
  std::vector<size_t> pulled_ids;              // Per pull.
  std::vector<std::string> events;             // "prepare NAME", "drop NAME", ...
  std::map<std::string, absl::Status> refuse;  // By event.
  SessionOptions session;                      // Of the last Open.
  absl::Status left = absl::UnknownError("has not left");

  // Column c of a row nobody has pushed.
  static float Initial(int table, FeatureId id, int64_t c) {
    return static_cast<float>(table * 1000) + static_cast<float>(id) +
           0.25f * static_cast<float>(c);
  }

  void SetHealth(const absl::Status& status) {
    std::lock_guard lock(mutex_);
    health_ = status;
  }
  // Answers the oldest held call.
  void Release(const absl::Status& status = absl::OkStatus()) {
    HeldCall call = std::move(held.front());
    held.pop_front();
    if (status.ok()) call.perform();
    call.done(status);
  }

  int num_servers() const override { return 1; }
  absl::Status Open(const SessionOptions& options) override {
    session = options;
    return Event("open " + options.job);
  }
  void Pull(std::vector<TablePull> tables, Step after_step, Done done) override {
    pulls_after.push_back(after_step);
    size_t ids = 0;
    for (const TablePull& pull : tables) ids += pull.ids.size();
    pulled_ids.push_back(ids);
    Call({[this, tables] { Read(tables); }, std::move(done), after_step});
  }
  void Push(Step step, std::vector<TablePush> tables, float factor, Done done) override {
    Call({[this, tables, step, factor] { Apply(step, factor, tables); }, std::move(done), step});
  }
  absl::StatusOr<std::vector<ServerCut>> PrepareCut(const std::string& cut) override {
    if (absl::Status status = Event("prepare " + cut); !status.ok()) return status;
    return std::vector<ServerCut>{{"scripted", "/nowhere/" + cut, 7, 3, 42}};
  }
  absl::Status DropCut(const std::string& cut) override { return Event("drop " + cut); }
  absl::Status RestoreCut(const CutRestore& restore) override {
    std::string from;
    for (const std::string& directory : restore.directories) from += " from " + directory;
    return Event("restore " + restore.cut + " epoch " + std::to_string(restore.epoch) + " keep '" +
                 restore.keep_newer + "'" + from);
  }
  absl::StatusOr<std::vector<uint64_t>> ImportRows(const RowImport& import) override {
    return std::vector<uint64_t>(import.tables.size(), 0);
  }
  absl::StatusOr<std::vector<proto::TableStatReply>> TableStats() override {
    return std::vector<proto::TableStatReply>();
  }
  absl::Status SetKey(const std::string&, const std::string&) override { return absl::OkStatus(); }
  absl::StatusOr<std::string> GetKey(const std::string&, absl::Duration) override {
    return std::string();
  }
  absl::Status Health() const override {
    std::lock_guard lock(mutex_);
    return health_;
  }
  void Leave(const absl::Status& cause) override { left = cause; }

 private:
  void Call(HeldCall call) {
    if (hold) {
      held.push_back(std::move(call));
      return;
    }
    call.perform();
    call.done(absl::OkStatus());
  }
  void Read(const std::vector<TablePull>& tables) {
    for (const TablePull& pull : tables) {
      for (size_t i = 0; i < pull.ids.size(); ++i) {
        const auto changed_row = changed.find({pull.table, pull.ids[i]});
        if (pull.statistics != nullptr) {
          const auto counted = statistics.find({pull.table, pull.ids[i]});
          const bool is_there = counted != statistics.end();
          pull.statistics[2 * i] = is_there ? counted->second.first : 0;
          pull.statistics[2 * i + 1] = is_there ? counted->second.second : 0;
        }
        for (int64_t c = 0; c < dim; ++c) {
          const float offset = changed_row == changed.end() ? 0.0f : changed_row->second;
          pull.rows[i * static_cast<size_t>(dim) + static_cast<size_t>(c)] =
              Initial(pull.table, pull.ids[i], c) + offset;
        }
      }
    }
  }
  void Apply(Step step, float factor, const std::vector<TablePush>& tables) {
    SeenPush& push = pushes.emplace_back();
    push.step = step;
    push.factor = factor;
    for (const TablePush& table : tables) {
      for (size_t i = 0; i < table.ids.size(); ++i) {
        const float* gradient = table.gradients + i * static_cast<size_t>(dim);
        push.gradients[{table.table, table.ids[i]}] = {gradient, gradient + dim};
        changed[{table.table, table.ids[i]}] += 10000.0f;
        auto& [count, last] = statistics[{table.table, table.ids[i]}];
        ++count;
        last = static_cast<uint32_t>(step);
      }
      for (size_t i = 0; i < table.returned.size(); ++i) {
        Read({{table.table, table.ids.subspan(table.returned[i], 1),
               table.rows + i * static_cast<size_t>(dim)}});
      }
    }
  }
  absl::Status Event(const std::string& event) {
    events.push_back(event);
    const auto refused = refuse.find(event.substr(0, event.find(' ')));
    return refused == refuse.end() ? absl::OkStatus() : refused->second;
  }

  mutable std::mutex mutex_;
  absl::Status health_;
};

}  // namespace pagoda
