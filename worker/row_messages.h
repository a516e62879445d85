// The messages of pulls and pushes, one for each server of a job, and where the rows go
// that the servers answer with.
//
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/parameter_server.pb.h"
#include "worker/parameter_client.h"

namespace pagoda {

// Who owns what: `table_ids[s][t]` is server s's index of the session's table t.
struct RowRoutes {
  const SessionOptions* session;
  const std::vector<std::vector<uint32_t>>* table_ids;

  size_t num_servers() const { return table_ids->size(); }
};

// One table's share of one server's answer.
struct AnsweredRows {
  float* rows = nullptr;         // The caller's, of all servers together.
  std::vector<uint32_t> places;  // Where each goes. Empty: `count` rows in order.
  size_t count = 0;
  int64_t dim = 0;
  uint32_t* statistics = nullptr;  // Likewise, [2] each; null: not asked for.
};

// Index: server. A table without ids on a server is left out.
template <typename Request>
struct RowMessages {
  std::vector<std::shared_ptr<Request>> requests;
  std::vector<std::vector<AnsweredRows>> answers;  // One for each table asked.
};
using PullMessages = RowMessages<proto::PullRequest>;
using PushMessages = RowMessages<proto::PushRequest>;

PullMessages MakePulls(const RowRoutes& routes, std::span<const TablePull> tables, Step after_step);
// `header`: all but the tables.
PushMessages MakePushes(const RowRoutes& routes, const proto::PushRequest& header,
                        std::span<const TablePush> tables);

// Brings a server's answer to its places.
//   INTERNAL  rows of the wrong size (names `server`)
absl::Status TakeRows(const google::protobuf::RepeatedPtrField<std::string>& rows,
                      const std::vector<AnsweredRows>& answers, const std::string& server);
// The same with the rows' statistics, where they were asked for.
absl::Status TakePull(const proto::PullReply& reply, const std::vector<AnsweredRows>& answers,
                      const std::string& server);

}  // namespace pagoda
