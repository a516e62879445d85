#include "deploy/in_process_client.h"

#include <atomic>
#include <future>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/task_queue.h"
#include "worker/client_session.h"
#include "worker/shard_split.h"

namespace pagoda {
namespace {

// One table's share of one shard, with memory of its own.
struct ShardTable {
  size_t table = 0;  // Index into the caller's list.
  int64_t dim = 0;
  ShardRows rows;
  std::vector<float> values;              // Rows read, or gradients to push.
  WantedRows wanted = {};                 // Of a push: which rows come back,
  std::vector<float> returned = {};       // and the rows.
  std::vector<uint32_t> statistics = {};  // Of a pull that wants them.
};
using ShardTables = std::vector<ShardTable>;

class InProcessClient final : public ParameterClient {
 public:
  InProcessClient(std::vector<ParameterService*> services, const InProcessClientOptions& options)
      : services_(std::move(services)),
        incarnation_(NewIncarnation()),
        queue_(options.num_threads, static_cast<size_t>(options.waiting_max)) {
    PAGODA_CHECK(!services_.empty());
  }

  ~InProcessClient() override {
    if (joined_) Leave(absl::CancelledError("it closed its session before the end"));
  }

  int num_servers() const override { return static_cast<int>(services_.size()); }

  absl::Status Open(const SessionOptions& options) override {
    options_ = options;
    options_.timeout = absl::ZeroDuration();  // One process lives and dies as one.
    table_ids_.assign(services_.size(), {});
    for (size_t shard = 0; shard < services_.size(); ++shard) {
      auto reply =
          services_[shard]->Hello(MakeHello(options_, static_cast<uint32_t>(shard),
                                            static_cast<uint32_t>(services_.size()), incarnation_));
      if (!reply.ok()) return WithContext(reply.status(), Name(shard));
      table_ids_[shard].assign(reply->table_ids().begin(), reply->table_ids().end());
      joined_ = options.training;
    }
    return absl::OkStatus();
  }

  void Pull(std::vector<TablePull> tables, Step after_step, Done done) override {
    Enqueue(std::move(done), [this, tables = std::move(tables), after_step](Done finish) {
      const absl::Status status = CheckPulls(tables, options_);
      if (!status.ok()) return finish(status);
      if (services_.size() == 1) return PullWhole(tables, after_step, std::move(finish));
      PullShards(tables, after_step, std::move(finish));
    });
  }

  void Push(Step step, std::vector<TablePush> tables, float learning_rate_factor,
            Done done) override {
    PushHeader header;
    header.job = options_.job;
    header.rank = static_cast<uint32_t>(options_.rank);
    header.epoch = options_.epoch;
    header.step = step;
    header.sequence = next_sequence_.fetch_add(1);
    header.incarnation = incarnation_;
    header.learning_rate_factor = learning_rate_factor;
    Enqueue(std::move(done), [this, tables = std::move(tables), header](Done finish) {
      const absl::Status status = CheckPushes(tables, options_);
      if (!status.ok()) return finish(status);
      if (services_.size() == 1) return PushWhole(header, tables, std::move(finish));
      PushShards(header, tables, std::move(finish));
    });
  }

  absl::StatusOr<std::vector<ServerCut>> PrepareCut(const std::string& cut) override {
    std::vector<ServerCut> cuts;
    for (size_t shard = 0; shard < services_.size(); ++shard) {
      auto reply = services_[shard]->PrepareCut(cut);
      if (!reply.ok()) return WithContext(reply.status(), Name(shard));
      cuts.push_back(
          {"embedded", reply->directory(), reply->sequence(), reply->rows(), reply->checksum()});
    }
    return cuts;
  }

  absl::Status DropCut(const std::string& cut) override {
    for (size_t shard = 0; shard < services_.size(); ++shard) {
      PAGODA_RETURN_IF_ERROR_CONTEXT(services_[shard]->DropCut(cut), Name(shard));
    }
    return absl::OkStatus();
  }

  absl::Status RestoreCut(const CutRestore& restore) override {
    proto::RestoreCutRequest request;
    request.set_job(options_.job);
    request.set_cut(restore.cut);
    request.set_epoch(restore.epoch);
    request.set_keep_newer(restore.keep_newer);
    for (const std::string& directory : restore.directories) request.add_directories(directory);
    for (size_t shard = 0; shard < services_.size(); ++shard) {
      PAGODA_RETURN_IF_ERROR_CONTEXT(services_[shard]->RestoreCut(request).status(), Name(shard));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<uint64_t>> ImportRows(const RowImport& import) override {
    std::vector<uint64_t> rows(import.tables.size(), 0);
    for (size_t shard = 0; shard < services_.size(); ++shard) {
      proto::ImportRowsRequest request;
      request.set_job(options_.job);
      request.set_epoch(options_.epoch);
      for (const std::string& directory : import.directories) request.add_directories(directory);
      for (const RowImport::Table& table : import.tables) {
        proto::ImportRowsRequest::Table* asked = request.add_tables();
        asked->set_table(IdOf(shard, table.table));
        asked->set_source(table.source);
      }
      const auto reply = services_[shard]->ImportRows(request);
      if (!reply.ok()) return WithContext(reply.status(), Name(shard));
      for (size_t t = 0; t < rows.size(); ++t) rows[t] += reply->rows(static_cast<int>(t));
    }
    return rows;
  }

  absl::StatusOr<std::vector<proto::TableStatReply>> TableStats() override {
    std::vector<proto::TableStatReply> replies;
    for (size_t shard = 0; shard < services_.size(); ++shard) {
      auto reply = services_[shard]->TableStats();
      if (!reply.ok()) return WithContext(reply.status(), Name(shard));
      replies.push_back(*std::move(reply));
    }
    return replies;
  }

  absl::Status SetKey(const std::string& key, const std::string& value) override {
    return services_[0]->SetKey(options_.job, key, value);
  }

  absl::StatusOr<std::string> GetKey(const std::string& key, absl::Duration timeout) override {
    std::promise<absl::StatusOr<std::string>> promise;
    services_[0]->GetKey(options_.job, key, timeout, [&](absl::StatusOr<std::string> value) {
      promise.set_value(std::move(value));
    });
    return promise.get_future().get();
  }

  absl::Status Health() const override {
    for (const ParameterService* service : services_) {
      PAGODA_RETURN_IF_ERROR(service->JobHealth());
    }
    return absl::OkStatus();
  }

  void Leave(const absl::Status& cause) override {
    proto::HeartbeatRequest request;
    request.set_job(options_.job);
    request.set_rank(static_cast<uint32_t>(options_.rank));
    request.set_incarnation(incarnation_);
    if (cause.ok()) {
      request.set_leaving(true);
    } else {
      request.set_failure(std::string(cause.message()));
    }
    for (ParameterService* service : services_) (void)service->Heartbeat(request);
    joined_ = false;
  }

 private:
  std::string Name(size_t shard) const {
    return services_.size() == 1 ? "embedded server" : absl::StrCat("embedded server ", shard);
  }

  void Enqueue(Done done, std::function<void(Done)> body) {
    const bool added = queue_.TryAdd([body = std::move(body), done] { body(done); });
    if (!added) done(absl::ResourceExhaustedError("too many pulls and pushes wait in this worker"));
  }

  int64_t DimOf(int table) const { return options_.tables[static_cast<size_t>(table)].dim(); }
  uint32_t IdOf(size_t shard, int table) const {
    return table_ids_[shard][static_cast<size_t>(table)];
  }

  void PullWhole(const std::vector<TablePull>& tables, Step after_step, Done done) {
    std::vector<ServicePull> pulls;
    for (const TablePull& pull : tables) {
      pulls.push_back({IdOf(0, pull.table), pull.ids, pull.rows, pull.statistics});
    }
    services_[0]->Pull(options_.job, static_cast<uint32_t>(options_.rank), after_step,
                       std::move(pulls), std::move(done));
  }

  void PushWhole(const PushHeader& header, const std::vector<TablePush>& tables, Done done) {
    std::vector<ServicePush> pushes;
    for (const TablePush& push : tables) {
      const size_t values = push.ids.size() * static_cast<size_t>(DimOf(push.table));
      pushes.push_back(
          {IdOf(0, push.table), push.ids, {push.gradients, values}, push.returned, push.rows});
    }
    services_[0]->Push(header, std::move(pushes), std::move(done));
  }

  // shards[s] = the rows of each table that shard s owns, with room for values.
  template <typename Tables>
  std::vector<ShardTables> Split(const Tables& tables) const {
    std::vector<ShardTables> shards(services_.size());
    for (size_t table = 0; table < tables.size(); ++table) {
      std::vector<ShardRows> split =
          SplitIds(tables[table].ids, static_cast<uint32_t>(services_.size()));
      const size_t dim = static_cast<size_t>(DimOf(tables[table].table));
      for (size_t shard = 0; shard < split.size(); ++shard) {
        std::vector<float> values(split[shard].ids.size() * dim);
        shards[shard].push_back(
            {table, static_cast<int64_t>(dim), std::move(split[shard]), std::move(values)});
      }
    }
    return shards;
  }

  void PullShards(const std::vector<TablePull>& tables, Step after_step, Done done) {
    auto fan_in = std::make_shared<FanIn>(services_.size(), std::move(done));
    std::vector<ShardTables> shards = Split(tables);
    for (size_t shard = 0; shard < services_.size(); ++shard) {
      auto parts = std::make_shared<ShardTables>(std::move(shards[shard]));
      std::vector<ServicePull> pulls;
      for (ShardTable& part : *parts) {
        const TablePull& pull = tables[part.table];
        if (pull.statistics != nullptr) part.statistics.resize(2 * part.rows.ids.size());
        pulls.push_back({IdOf(shard, pull.table), part.rows.ids, part.values.data(),
                         pull.statistics == nullptr ? nullptr : part.statistics.data()});
      }
      services_[shard]->Pull(options_.job, static_cast<uint32_t>(options_.rank), after_step,
                             std::move(pulls), [tables, parts, fan_in, shard](absl::Status status) {
                               for (const ShardTable& part : *parts) {
                                 if (!status.ok()) break;
                                 ScatterRows(reinterpret_cast<const char*>(part.values.data()),
                                             part.rows.positions, part.dim,
                                             tables[part.table].rows);
                                 if (part.statistics.empty()) continue;
                                 ScatterBytes(reinterpret_cast<const char*>(part.statistics.data()),
                                              part.rows.positions, 2 * sizeof(uint32_t),
                                              tables[part.table].statistics);
                               }
                               fan_in->Finish(shard, std::move(status));
                             });
    }
  }

  void PushShards(const PushHeader& header, const std::vector<TablePush>& tables, Done done) {
    auto fan_in = std::make_shared<FanIn>(services_.size(), std::move(done));
    std::vector<ShardTables> shards = Split(tables);
    for (size_t shard = 0; shard < services_.size(); ++shard) {
      auto parts = std::make_shared<ShardTables>(std::move(shards[shard]));
      std::vector<ServicePush> pushes;
      for (ShardTable& part : *parts) {
        const TablePush& push = tables[part.table];
        GatherRows(push.gradients, part.rows.positions, part.dim, part.values.data());
        part.wanted = FindWanted(part.rows.positions, push.returned);
        part.returned.resize(part.wanted.in_shard.size() * static_cast<size_t>(part.dim));
        pushes.push_back({IdOf(shard, push.table), part.rows.ids, part.values, part.wanted.in_shard,
                          part.returned.data()});
      }
      services_[shard]->Push(
          header, std::move(pushes), [tables, parts, fan_in, shard](absl::Status status) {
            for (const ShardTable& part : *parts) {
              if (!status.ok() || part.returned.empty()) continue;
              ScatterRows(reinterpret_cast<const char*>(part.returned.data()),
                          part.wanted.in_wanted, part.dim, tables[part.table].rows);
            }
            fan_in->Finish(shard, std::move(status));
          });
    }
  }

  const std::vector<ParameterService*> services_;
  const uint64_t incarnation_;
  SessionOptions options_;
  std::vector<std::vector<uint32_t>> table_ids_;  // [shard][table]
  std::atomic<uint64_t> next_sequence_{1};
  bool joined_ = false;
  TaskQueue queue_;  // Last: ends first.
};

}  // namespace

std::unique_ptr<ParameterClient> MakeInProcessClient(std::vector<ParameterService*> services,
                                                     const InProcessClientOptions& options) {
  return std::make_unique<InProcessClient>(std::move(services), options);
}

}  // namespace pagoda
