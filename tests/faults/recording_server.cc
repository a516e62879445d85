// A parameter server that also writes down, in the order applied, every push that it
// acknowledges and every cut and rewind that it is asked for:
//   recording_server DATA_DIR JOURNAL ADDRESS_FILE
// Pushes are applied one at a time, so that the order written is the order applied.
// Serves until it is killed.
#include <unistd.h>

#include <cstdio>
#include <map>
#include <mutex>

#include "server/parameter_server_grpc.h"
#include "tests/faults/push_journal.h"
#include "worker/durable_file.h"

namespace pagoda {
namespace {

class RecordingService final : public ParameterService {
 public:
  RecordingService(ParameterService* inner, PushJournal* journal)
      : inner_(inner), journal_(journal) {}

  absl::StatusOr<proto::HelloReply> Hello(const proto::HelloRequest& request) override {
    absl::StatusOr<proto::HelloReply> reply = inner_->Hello(request);
    if (!reply.ok()) return reply;
    std::lock_guard lock(mutex_);
    for (int t = 0; t < request.tables_size(); ++t) {
      names_[reply->table_ids(t)] = request.tables(t).name();
    }
    return reply;
  }

  void Push(const PushHeader& header, std::vector<ServicePush> tables, Done done) override {
    JournalRecord record;
    record.rank = header.rank;
    record.step = header.step;
    record.learning_rate_factor = header.learning_rate_factor;
    std::lock_guard one_at_a_time(push_mutex_);
    for (const ServicePush& push : tables) {
      std::lock_guard lock(mutex_);
      record.tables.push_back({names_[push.table],
                               {push.ids.begin(), push.ids.end()},
                               {push.gradients.begin(), push.gradients.end()}});
    }
    // In an async job the callback runs before Push returns.
    inner_->Push(header, std::move(tables), [&](absl::Status status) {
      if (status.ok()) status = Append(record);
      done(std::move(status));
    });
  }

  absl::StatusOr<proto::PrepareCutReply> PrepareCut(const std::string& cut) override {
    std::lock_guard none_meanwhile(push_mutex_);
    const absl::Status noted = AppendCut(JournalRecord::Kind::kCut, cut);
    if (!noted.ok()) return noted;
    return inner_->PrepareCut(cut);
  }

  absl::StatusOr<proto::RestoreCutReply> RestoreCut(
      const proto::RestoreCutRequest& request) override {
    absl::StatusOr<proto::RestoreCutReply> reply = inner_->RestoreCut(request);
    if (!reply.ok()) return reply;
    const absl::Status noted = AppendCut(JournalRecord::Kind::kRewind, request.cut());
    if (!noted.ok()) return noted;
    return reply;
  }

  absl::StatusOr<proto::ImportRowsReply> ImportRows(
      const proto::ImportRowsRequest& request) override {
    return inner_->ImportRows(request);
  }

  absl::StatusOr<int64_t> TableDim(uint32_t table) const override {
    return inner_->TableDim(table);
  }
  void Pull(const std::string& job, uint32_t rank, Step after_step, std::vector<ServicePull> tables,
            Done done) override {
    inner_->Pull(job, rank, after_step, std::move(tables), std::move(done));
  }
  proto::HeartbeatReply Heartbeat(const proto::HeartbeatRequest& request) override {
    return inner_->Heartbeat(request);
  }
  absl::Status SetKey(const std::string& job, const std::string& key,
                      const std::string& value) override {
    return inner_->SetKey(job, key, value);
  }
  void GetKey(const std::string& job, const std::string& key, absl::Duration timeout,
              std::function<void(absl::StatusOr<std::string>)> done) override {
    inner_->GetKey(job, key, timeout, std::move(done));
  }
  absl::Status DropCut(const std::string& cut) override { return inner_->DropCut(cut); }
  absl::StatusOr<proto::TableStatReply> TableStats() override { return inner_->TableStats(); }
  absl::Status JobHealth() const override { return inner_->JobHealth(); }
  bool JobFinished() const override { return inner_->JobFinished(); }
  void Shutdown(const absl::Status& cause) override { inner_->Shutdown(cause); }

 private:
  absl::Status Append(const JournalRecord& record) {
    std::lock_guard lock(mutex_);
    return journal_->Append(record);
  }

  absl::Status AppendCut(JournalRecord::Kind kind, const std::string& cut) {
    JournalRecord record;
    record.kind = kind;
    record.cut = cut;
    return Append(record);
  }

  ParameterService* const inner_;
  PushJournal* const journal_;
  std::mutex push_mutex_;  // Taken before mutex_.
  std::mutex mutex_;
  std::map<uint32_t, std::string> names_;
};

absl::Status Serve(const std::string& data_dir, const std::string& journal_path,
                   const std::string& address_file) {
  ParameterServiceOptions options;
  options.data_dir = data_dir;
  options.memory_bytes = 16 << 20;
  absl::StatusOr<std::unique_ptr<ParameterService>> service = ParameterService::Open(options);
  if (!service.ok()) return service.status();
  absl::StatusOr<std::unique_ptr<PushJournal>> journal = PushJournal::Open(journal_path);
  if (!journal.ok()) return journal.status();
  RecordingService recording(service->get(), journal->get());
  absl::StatusOr<std::unique_ptr<GrpcServer>> server = StartGrpcServer({}, &recording);
  if (!server.ok()) return server.status();
  absl::Status status = ReplaceFileDurably(address_file, (*server)->address() + "\n");
  if (!status.ok()) return status;
  for (;;) pause();
}

}  // namespace
}  // namespace pagoda

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const absl::Status status = pagoda::Serve(argv[1], argv[2], argv[3]);
  std::fprintf(stderr, "recording_server: %s\n", status.ToString().c_str());
  return 1;
}
