#include "worker/row_messages.h"

#include <bit>
#include <cstring>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/shard_split.h"

namespace pagoda {
namespace {

static_assert(std::endian::native == std::endian::little,
              "the wire format is the memory's; a big-endian port must swap bytes here");

template <typename T>
void SetBytes(std::span<const T> values, std::string* bytes) {
  bytes->assign(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

int64_t DimOf(const RowRoutes& routes, int table) {
  return routes.session->tables[static_cast<size_t>(table)].dim();
}
uint32_t IdOf(const RowRoutes& routes, size_t server, int table) {
  return (*routes.table_ids)[server][static_cast<size_t>(table)];
}

// A push's rows that one server owns; `positions` in the push, all of them with one server.
void AddPush(const RowRoutes& routes, size_t server, const TablePush& push,
             std::span<const FeatureId> ids, std::span<const uint32_t> positions,
             PushMessages* messages) {
  if (ids.empty()) return;
  const int64_t dim = DimOf(routes, push.table);
  proto::TableGradients& part = *messages->requests[server]->add_tables();
  part.set_table(IdOf(routes, server, push.table));
  SetBytes(ids, part.mutable_ids());
  std::string& bytes = *part.mutable_gradients();
  bytes.resize(ids.size() * static_cast<size_t>(dim) * sizeof(float));
  if (ids.size() == push.ids.size()) {
    std::memcpy(bytes.data(), push.gradients, bytes.size());
  } else {
    GatherRows(push.gradients, positions, dim, reinterpret_cast<float*>(bytes.data()));
  }
  AnsweredRows answer;
  answer.rows = push.rows;
  answer.dim = dim;
  if (!push.returned.empty()) {
    WantedRows wanted = FindWanted(positions, push.returned);
    SetBytes(std::span<const uint32_t>(wanted.in_shard), part.mutable_returned());
    answer.count = wanted.in_wanted.size();
    answer.places = std::move(wanted.in_wanted);
  }
  messages->answers[server].push_back(std::move(answer));
}

}  // namespace

PullMessages MakePulls(const RowRoutes& routes, std::span<const TablePull> tables,
                       Step after_step) {
  PullMessages messages;
  messages.answers.resize(routes.num_servers());
  for (size_t server = 0; server < routes.num_servers(); ++server) {
    auto request = std::make_shared<proto::PullRequest>();
    request->set_job(routes.session->job);
    request->set_rank(static_cast<uint32_t>(routes.session->rank));
    request->set_after_step(static_cast<uint64_t>(after_step));
    messages.requests.push_back(std::move(request));
  }
  for (const TablePull& pull : tables) {
    const auto add = [&](size_t server, std::span<const FeatureId> ids,
                         std::vector<uint32_t> positions) {
      if (ids.empty()) return;
      proto::TableIds& part = *messages.requests[server]->add_tables();
      part.set_table(IdOf(routes, server, pull.table));
      SetBytes(ids, part.mutable_ids());
      part.set_statistics(pull.statistics != nullptr);
      messages.answers[server].push_back({pull.rows, std::move(positions), ids.size(),
                                          DimOf(routes, pull.table), pull.statistics});
    };
    if (routes.num_servers() == 1) {
      add(0, pull.ids, {});
      continue;
    }
    std::vector<ShardRows> split = SplitIds(pull.ids, static_cast<uint32_t>(routes.num_servers()));
    for (size_t server = 0; server < split.size(); ++server) {
      add(server, split[server].ids, std::move(split[server].positions));
    }
  }
  return messages;
}

PushMessages MakePushes(const RowRoutes& routes, const proto::PushRequest& header,
                        std::span<const TablePush> tables) {
  PushMessages messages;
  messages.answers.resize(routes.num_servers());
  for (size_t server = 0; server < routes.num_servers(); ++server) {
    messages.requests.push_back(std::make_shared<proto::PushRequest>(header));
  }
  for (const TablePush& push : tables) {
    if (routes.num_servers() == 1) {
      std::vector<uint32_t> positions;
      if (!push.returned.empty()) {
        positions.resize(push.ids.size());
        std::iota(positions.begin(), positions.end(), 0u);
      }
      AddPush(routes, 0, push, push.ids, positions, &messages);
      continue;
    }
    const std::vector<ShardRows> split =
        SplitIds(push.ids, static_cast<uint32_t>(routes.num_servers()));
    for (size_t server = 0; server < split.size(); ++server) {
      AddPush(routes, server, push, split[server].ids, split[server].positions, &messages);
    }
  }
  return messages;
}

namespace {

// Where the row bytes of one table go.
struct Places {
  void* to = nullptr;
  size_t row_bytes = 0;
};

// `places[i]` for answers[i].
absl::Status TakeBytes(const google::protobuf::RepeatedPtrField<std::string>& tables,
                       const std::vector<AnsweredRows>& answers, const std::vector<Places>& places,
                       const std::string& server) {
  bool sizes_agree = static_cast<size_t>(tables.size()) == answers.size();
  for (size_t i = 0; sizes_agree && i < answers.size(); ++i) {
    sizes_agree = tables[static_cast<int>(i)].size() == answers[i].count * places[i].row_bytes;
  }
  if (!sizes_agree) {
    return absl::InternalError(
        absl::StrCat("server ", server, " answered with rows of the wrong size"));
  }
  for (size_t i = 0; i < answers.size(); ++i) {
    const std::string& bytes = tables[static_cast<int>(i)];
    if (bytes.empty()) continue;
    if (answers[i].places.empty()) {
      std::memcpy(places[i].to, bytes.data(), bytes.size());
    } else {
      ScatterBytes(bytes.data(), answers[i].places, places[i].row_bytes, places[i].to);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status TakeRows(const google::protobuf::RepeatedPtrField<std::string>& rows,
                      const std::vector<AnsweredRows>& answers, const std::string& server) {
  std::vector<Places> places;
  for (const AnsweredRows& answer : answers) {
    places.push_back({answer.rows, static_cast<size_t>(answer.dim) * sizeof(float)});
  }
  return TakeBytes(rows, answers, places, server);
}

absl::Status TakePull(const proto::PullReply& reply, const std::vector<AnsweredRows>& answers,
                      const std::string& server) {
  PAGODA_RETURN_IF_ERROR(TakeRows(reply.rows(), answers, server));
  std::vector<Places> places;
  bool any = false;
  for (const AnsweredRows& answer : answers) {
    any = any || answer.statistics != nullptr;
    places.push_back({answer.statistics, answer.statistics == nullptr ? 0 : 2 * sizeof(uint32_t)});
  }
  return any ? TakeBytes(reply.statistics(), answers, places, server) : absl::OkStatus();
}

}  // namespace pagoda
