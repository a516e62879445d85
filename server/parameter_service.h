// What a parameter server does, without its network skin: the gRPC server and the
// in-process client both stand on this.
//
// Threads: any method, any thread. Callbacks run on the caller's thread, or on the
// thread whose push completed a sync step.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/ids.h"
#include "base/thread_pool.h"
#include "proto/parameter_server.pb.h"
#include "proto/version.h"

namespace pagoda {

struct ParameterServiceOptions {
  std::string data_dir;                     // Created when missing.
  std::string durability = "process";       // none | process | machine
  int64_t memory_bytes = int64_t{1} << 30;  // StoreOptions::memory_bytes.
  int64_t disk_bytes_max = 0;               // StoreOptions::disk_bytes_max.
  int num_threads = 2;
  int64_t ids_per_request_max = int64_t{1} << 22;
  int64_t bytes_in_flight_max = int64_t{1} << 30;  // Above it: RESOURCE_EXHAUSTED at once.
  // Workers of another version are refused; tests of that pretend to be one.
  std::string version = kPagodaVersion;
  bool read_only_cut = false;  // data_dir is one cut's directory; nothing is written.
};

struct ServicePull {
  uint32_t table = 0;
  std::span<const FeatureId> ids;
  float* rows = nullptr;           // [n, dim]
  uint32_t* statistics = nullptr;  // [n, 2]: StorePull::statistics; null: not wanted.
};
struct ServicePush {
  uint32_t table = 0;
  std::span<const FeatureId> ids;
  std::span<const float> gradients;  // [n, dim]
  // Positions in `ids`, ascending, whose rows come back as they are after the push, and
  // where to, [returned.size(), dim]. In sync mode: after the push's step, and before the
  // next one. A retry gets the rows as they are then.
  std::span<const uint32_t> returned = {};
  float* rows = nullptr;
};
struct PushHeader {
  std::string job;
  uint32_t rank = 0;
  uint64_t epoch = 0;
  Step step = 0;
  uint64_t sequence = 0;
  uint64_t incarnation = 0;
  float learning_rate_factor = 1.0f;
};

class ParameterService {
 public:
  using Done = std::function<void(absl::Status)>;

  // Opens the store (and recovers it after a crash).
  //   FAILED_PRECONDITION  the directory is in use, or of another format version
  //   DATA_LOSS            a checksum does not match
  static absl::StatusOr<std::unique_ptr<ParameterService>> Open(
      const ParameterServiceOptions& options);
  virtual ~ParameterService() = default;

  // See parameter_server.proto and worker/parameter_client.h for meanings and errors.
  virtual absl::StatusOr<proto::HelloReply> Hello(const proto::HelloRequest& request) = 0;
  // The weights width of a table; NOT_FOUND when there is none of that index.
  virtual absl::StatusOr<int64_t> TableDim(uint32_t table) const = 0;
  virtual void Pull(const std::string& job, uint32_t rank, Step after_step,
                    std::vector<ServicePull> tables, Done done) = 0;
  // Validates everything before the first write. Spans must live until `done`.
  virtual void Push(const PushHeader& header, std::vector<ServicePush> tables, Done done) = 0;
  virtual proto::HeartbeatReply Heartbeat(const proto::HeartbeatRequest& request) = 0;
  virtual absl::Status SetKey(const std::string& job, const std::string& key,
                              const std::string& value) = 0;
  // Calls done(value) at once or when set; done(DEADLINE_EXCEEDED) after `timeout`.
  virtual void GetKey(const std::string& job, const std::string& key, absl::Duration timeout,
                      std::function<void(absl::StatusOr<std::string>)> done) = 0;
  virtual absl::StatusOr<proto::PrepareCutReply> PrepareCut(const std::string& cut) = 0;
  virtual absl::Status DropCut(const std::string& cut) = 0;
  virtual absl::StatusOr<proto::RestoreCutReply> RestoreCut(
      const proto::RestoreCutRequest& request) = 0;
  virtual absl::StatusOr<proto::ImportRowsReply> ImportRows(
      const proto::ImportRowsRequest& request) = 0;
  virtual absl::StatusOr<proto::TableStatReply> TableStats() = 0;

  // OK while the job lives; after a worker died or reported a failure, the cause.
  virtual absl::Status JobHealth() const = 0;
  // True when every worker has left in good order.
  virtual bool JobFinished() const = 0;
  // Fails everything that waits with `cause`, then refuses new work.
  virtual void Shutdown(const absl::Status& cause) = 0;
};

}  // namespace pagoda
