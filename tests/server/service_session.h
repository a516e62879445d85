// Short words for tests of the parameter service: a service on a directory of its
// own, sessions, pushes and pulls that wait or report.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "embedding_store/embedding_store.h"
#include "proto/version.h"
#include "server/parameter_service.h"

namespace pagoda {

inline proto::TableSpec MakeTable(const std::string& name, uint32_t dim,
                                  const std::string& optimizer = "adagrad") {
  proto::TableSpec table;
  table.set_name(name);
  table.set_dim(dim);
  table.set_seed(11);
  table.set_init_stddev(0.1f);
  table.mutable_optimizer()->set_kind(optimizer);
  table.mutable_optimizer()->set_learning_rate(0.05f);
  table.mutable_optimizer()->set_initial_accumulator(0.1f);
  table.mutable_optimizer()->set_epsilon(1e-8f);
  table.mutable_optimizer()->set_beta1(0.9f);
  table.mutable_optimizer()->set_beta2(0.999f);
  table.mutable_optimizer()->set_ftrl_beta(1.0f);
  return table;
}

inline proto::HelloRequest MakeHelloOf(uint32_t rank, uint32_t num_workers,
                                       const std::vector<proto::TableSpec>& tables) {
  proto::HelloRequest hello;
  hello.set_version(kPagodaVersion);
  hello.set_protocol(kProtocolVersion);
  hello.set_job("job");
  hello.set_rank(rank);
  hello.set_num_workers(num_workers);
  hello.set_num_shards(1);
  hello.set_mode("sync");
  hello.set_epoch(1);
  hello.set_training(true);
  hello.set_incarnation(1000 + rank);
  for (const proto::TableSpec& table : tables) *hello.add_tables() = table;
  return hello;
}

inline PushHeader MakeHeader(uint32_t rank, Step step) {
  PushHeader header;
  header.job = "job";
  header.rank = rank;
  header.epoch = 1;
  header.step = step;
  header.sequence = static_cast<uint64_t>(step);
  header.incarnation = 1000 + rank;
  return header;
}

// The rows one worker pushes in one step, for one or more tables.
struct Rows {
  uint32_t table = 0;
  std::vector<FeatureId> ids;
  std::vector<float> gradients;
};

inline std::vector<ServicePush> AsPushes(const std::vector<Rows>& rows) {
  std::vector<ServicePush> pushes;
  for (const Rows& r : rows) pushes.push_back({r.table, r.ids, r.gradients});
  return pushes;
}

// An answer that may come later, from any thread.
class Answer {
 public:
  ParameterService::Done Done() {
    return [this](absl::Status status) {
      std::lock_guard<std::mutex> lock(mutex_);
      PAGODA_CHECK(!status_.has_value());  // Answered twice.
      status_ = std::move(status);
      came_.notify_all();
    };
  }
  bool here() {
    std::lock_guard<std::mutex> lock(mutex_);
    return status_.has_value();
  }
  // Waits for it; a test that waits in vain has failed.
  absl::Status Get() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!came_.wait_for(lock, std::chrono::seconds(20), [&] { return status_.has_value(); })) {
      return absl::InternalError("the answer has not come within 20 s");
    }
    return *status_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable came_;
  std::optional<absl::Status> status_;
};

inline absl::Status PushAndWait(ParameterService& service, const PushHeader& header,
                                const std::vector<Rows>& rows) {
  Answer answer;
  service.Push(header, AsPushes(rows), answer.Done());
  return answer.Get();
}

inline absl::StatusOr<std::vector<float>> PullAndWait(ParameterService& service, uint32_t table,
                                                      const std::vector<FeatureId>& ids,
                                                      Step after_step = 0,
                                                      const std::string& job = "job") {
  PAGODA_ASSIGN_OR_RETURN(const int64_t dim, service.TableDim(table));
  std::vector<float> rows(ids.size() * static_cast<size_t>(dim));
  Answer answer;
  service.Pull(job, 0, after_step, {{table, ids, rows.data()}}, answer.Done());
  PAGODA_RETURN_IF_ERROR(answer.Get());
  return rows;
}

// {pushes taken, step of the last} of each row.
inline absl::StatusOr<std::vector<uint32_t>> PullStatistics(ParameterService& service,
                                                            uint32_t table,
                                                            const std::vector<FeatureId>& ids,
                                                            Step after_step = 0,
                                                            const std::string& job = "job") {
  PAGODA_ASSIGN_OR_RETURN(const int64_t dim, service.TableDim(table));
  std::vector<float> rows(ids.size() * static_cast<size_t>(dim));
  std::vector<uint32_t> statistics(2 * ids.size(), 12345);
  Answer answer;
  service.Pull(job, 0, after_step, {{table, ids, rows.data(), statistics.data()}}, answer.Done());
  PAGODA_RETURN_IF_ERROR(answer.Get());
  return statistics;
}

inline std::unique_ptr<ParameterService> OpenService(const std::string& data_dir) {
  ParameterServiceOptions options;
  options.data_dir = data_dir;
  options.memory_bytes = 32 << 20;
  auto service = ParameterService::Open(options);
  if (!service.ok()) std::fprintf(stderr, "%s\n", service.status().ToString().c_str());
  PAGODA_CHECK(service.ok());
  return *std::move(service);
}

// Of a server's store. REQUIRES: no service is open on the directory.
inline uint64_t ContentHashOf(const std::string& data_dir) {
  StoreOptions options;
  options.path = data_dir + "/store";
  options.memory_bytes = 32 << 20;
  options.read_only = true;
  auto store = EmbeddingStore::Open(options);
  if (!store.ok()) std::fprintf(stderr, "%s\n", store.status().ToString().c_str());
  PAGODA_CHECK(store.ok());
  return (*store)->ContentHash().value();
}

}  // namespace pagoda
