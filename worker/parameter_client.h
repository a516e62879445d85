// A worker's view of all the parameter servers of its job: ids in, rows out;
// gradients in, acknowledgement out. Splitting by shard, packing and deadlines
// happen behind it.
//
// Implementations: parameter_client_grpc.h (real servers), deploy/in_process_client.h
// (stores in this process, no serialising).
//
// Threads: any method from any thread; callbacks run on the client's own threads
// (or inline) and must not block.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/ids.h"
#include "proto/parameter_server.pb.h"

namespace pagoda {

struct TablePull {
  int table = 0;                   // Index into SessionOptions::tables.
  std::span<const FeatureId> ids;  // Distinct. Must live until `done`.
  float* rows = nullptr;           // [ids.size(), dim]; written before `done`.
  // [ids.size(), 2], or null: how many pushes a row has taken and the step of the last,
  // as the rows are; {0, 0}: there is no row. Likewise.
  uint32_t* statistics = nullptr;
};

struct TablePush {
  int table = 0;
  std::span<const FeatureId> ids;    // Distinct. Must live until `done`.
  const float* gradients = nullptr;  // [ids.size(), dim]
  // Positions in `ids`, ascending, whose rows come back as they are after the push (in sync
  // mode: after its step), into `rows` [returned.size(), dim]. Both must live until `done`.
  std::span<const uint32_t> returned = {};
  float* rows = nullptr;
};

struct SessionOptions {
  std::string job;
  int rank = 0;
  int num_workers = 1;
  std::string mode = "sync";  // sync | async
  std::vector<proto::TableSpec> tables;
  uint64_t epoch = 1;
  Step applied_step = 0;   // Resume: steps already in the rows; pulls after them do not wait.
  bool restoring = false;  // RestoreCut follows: servers may hold other shards until then.
  bool training = true;    // false: read-only, unknown tables are refused
  absl::Duration timeout = absl::Seconds(8);  // Every wait has this deadline.
};

struct ServerCut {
  std::string server;     // Address, or "embedded".
  std::string directory;  // On the server's machine.
  uint64_t sequence = 0;
  uint64_t rows = 0;
  uint64_t checksum = 0;
};

// What the servers are rewound to.
struct CutRestore {
  std::string cut;
  uint64_t epoch = 0;
  std::string keep_newer;  // Newer rows are set aside under this name; empty: deleted.
  // Where all shards of the cut are, when another number of servers made it; every
  // server must be able to read them. Empty: each server has its own.
  std::vector<std::string> directories;
};

// Rows of another job's cut for this job's tables.
struct RowImport {
  std::vector<std::string> directories;  // Of all shards of the cut; every server reads them.
  struct Table {
    int table = 0;       // Index into SessionOptions::tables.
    std::string source;  // Its name in the cut.
  };
  std::vector<Table> tables;
};

class ParameterClient {
 public:
  using Done = std::function<void(absl::Status)>;

  virtual ~ParameterClient() = default;
  virtual int num_servers() const = 0;

  // Joins the job on every server; creates or checks the tables. Call first.
  //   FAILED_PRECONDITION  another version, job, dimension or optimizer (says which)
  //   UNAVAILABLE          a server does not answer (names it)
  virtual absl::Status Open(const SessionOptions& options) = 0;

  // Reads rows. In sync mode the servers answer after step `after_step` has been
  // applied (0: at once). Unknown ids read as their seeded initial values; reads
  // never create rows.
  //   DEADLINE_EXCEEDED, UNAVAILABLE, ABORTED  a server, or the job, has failed (named)
  virtual void Pull(std::vector<TablePull> tables, Step after_step, Done done) = 0;

  // Applies gradients; OK means acknowledged by every server. In sync mode the
  // acknowledgement comes when the step has been applied, which needs the push
  // (possibly empty) of every worker.
  //   INVALID_ARGUMENT     a gradient is not finite, an id repeats, ...: nothing applied
  //   RESOURCE_EXHAUSTED   a limit; nothing applied on that server; may be retried
  virtual void Push(Step step, std::vector<TablePush> tables, float learning_rate_factor,
                    Done done) = 0;

  // Two-phase cut; see proto. All pushes must have been acknowledged.
  virtual absl::StatusOr<std::vector<ServerCut>> PrepareCut(const std::string& cut) = 0;
  virtual absl::Status DropCut(const std::string& cut) = 0;
  // Rewinds every server to a cut.
  //   NOT_FOUND  a server has no such cut, or cannot read a directory (named)
  virtual absl::Status RestoreCut(const CutRestore& restore) = 0;

  // Fills tables with the weights of a cut's rows, each server with those of its shard,
  // straight from the cut's directories. Returns the rows of each table, all servers.
  //   NOT_FOUND            a server cannot read a directory, or the cut has no such table
  //   FAILED_PRECONDITION  another width, or an ftrl table that is trained
  virtual absl::StatusOr<std::vector<uint64_t>> ImportRows(const RowImport& import) = 0;

  virtual absl::StatusOr<std::vector<proto::TableStatReply>> TableStats() = 0;

  // Rendezvous board on the first server; may be used before Open.
  virtual absl::Status SetKey(const std::string& key, const std::string& value) = 0;
  //   DEADLINE_EXCEEDED  nobody set it in time
  virtual absl::StatusOr<std::string> GetKey(const std::string& key, absl::Duration timeout) = 0;

  // OK while no peer has reported a failure or fallen silent; else the cause.
  virtual absl::Status Health() const = 0;
  // Tells the servers that this worker ends: in good order, or with a cause, which
  // the other workers then learn within one heartbeat.
  virtual void Leave(const absl::Status& cause) = 0;
};

}  // namespace pagoda
