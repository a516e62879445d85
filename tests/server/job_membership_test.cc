#include "server/job_membership.h"

#include <catch2/catch.hpp>
#include <string>

namespace pagoda {
namespace {

using std::chrono::milliseconds;

proto::HelloRequest Hello(uint32_t rank, uint32_t num_workers) {
  proto::HelloRequest hello;
  hello.set_job("adult");
  hello.set_rank(rank);
  hello.set_num_workers(num_workers);
  hello.set_num_shards(1);
  hello.set_mode("sync");
  hello.set_epoch(3);
  hello.set_timeout_ms(8000);
  hello.set_training(true);
  hello.set_incarnation(100 + rank);
  proto::TableSpec& table = *hello.add_tables();
  table.set_name("user");
  table.set_dim(4);
  return hello;
}

proto::HeartbeatRequest Heartbeat(uint32_t rank) {
  proto::HeartbeatRequest heartbeat;
  heartbeat.set_job("adult");
  heartbeat.set_rank(rank);
  heartbeat.set_incarnation(100 + rank);
  return heartbeat;
}

struct Job {
  explicit Job(uint32_t num_workers) {
    for (uint32_t rank = 0; rank < num_workers; ++rank) Join(Hello(rank, num_workers));
  }
  void Join(const proto::HelloRequest& hello) {
    const auto joined = members.CheckJoin(hello);
    INFO(joined.status().ToString());
    REQUIRE(joined.ok());
    members.Join(hello, now);
  }
  // Time passes as the server sees it: in small ticks.
  bool Pass(milliseconds time) {
    bool failed = false;
    for (milliseconds tick(0); tick < time && !failed; tick += milliseconds(50)) {
      now += milliseconds(50);
      failed = members.Expire(now);
    }
    return failed;
  }
  std::string Beat(const proto::HeartbeatRequest& heartbeat) {
    bool failed = false;
    return members.Heartbeat(heartbeat, now, &failed);
  }

  SteadyTime now = SteadyTime() + std::chrono::hours(1);
  JobMembership members;
};

std::string Refusal(const JobMembership& members, const proto::HelloRequest& hello) {
  const auto joined = members.CheckJoin(hello);
  REQUIRE_FALSE(joined.ok());
  return std::string(joined.status().message());
}

TEST_CASE("a silent worker fails the job, by name, soon after the timeout") {
  Job job(2);
  CHECK_FALSE(job.Pass(milliseconds(7000)));
  CHECK(job.Beat(Heartbeat(0)).empty());
  CHECK_FALSE(job.Pass(milliseconds(1000)));
  CHECK(job.Pass(milliseconds(100)));
  CHECK(job.members.phase() == JobMembership::Phase::kFailed);
  CHECK(job.members.health().code() == absl::StatusCode::kAborted);
  CHECK(std::string(job.members.health().message()) ==
        "worker 1 (rank 1) has not been heard from for 8.1 s");
  CHECK(job.Beat(Heartbeat(0)) == "worker 1 (rank 1) has not been heard from for 8.1 s");
}

TEST_CASE("heartbeats keep a job alive for as long as they come") {
  Job job(2);
  for (int i = 0; i < 20; ++i) {
    CHECK_FALSE(job.Pass(milliseconds(4000)));
    CHECK(job.Beat(Heartbeat(0)).empty());
    CHECK(job.Beat(Heartbeat(1)).empty());
  }
}

TEST_CASE("a stranger's heartbeat does not keep a dead worker alive") {
  Job job(1);
  job.Pass(milliseconds(5000));
  proto::HeartbeatRequest stranger = Heartbeat(0);
  stranger.set_incarnation(7);
  CHECK_FALSE(job.Beat(stranger).empty());
  CHECK(job.Pass(milliseconds(3100)));
}

TEST_CASE("a timeout of zero never declares anyone dead") {
  JobMembership members;
  proto::HelloRequest hello = Hello(0, 1);
  hello.set_timeout_ms(0);
  SteadyTime now{};
  REQUIRE(members.CheckJoin(hello).ok());
  members.Join(hello, now);
  CHECK_FALSE(members.Expire(now + std::chrono::hours(100)));
}

TEST_CASE("after a pause of the server itself, workers get the time to speak") {
  Job job(2);
  job.Pass(milliseconds(1000));
  job.now += std::chrono::minutes(5);
  CHECK_FALSE(job.members.Expire(job.now));
  CHECK_FALSE(job.Pass(milliseconds(6900)));
  CHECK(job.Pass(milliseconds(200)));
}

TEST_CASE("workers that never come are missed only once somebody waits for them") {
  Job job(0);
  job.Join(Hello(0, 2));
  for (int i = 0; i < 10; ++i) {
    CHECK_FALSE(job.Pass(milliseconds(4000)));
    job.Beat(Heartbeat(0));
  }
  job.members.AwaitAll(job.now);
  job.Pass(milliseconds(4000));
  job.Beat(Heartbeat(0));
  CHECK(job.Pass(milliseconds(4100)));
  CHECK(std::string(job.members.health().message()) ==
        "worker 1 (rank 1) has not joined after 8.1 s of waiting");
}

TEST_CASE("a reported failure is the job's failure, the first one wins") {
  Job job(2);
  proto::HeartbeatRequest report = Heartbeat(1);
  report.set_failure("no space left on device");
  bool failed = false;
  CHECK(job.members.Heartbeat(report, job.now, &failed) ==
        "worker 1 (rank 1) has failed: no space left on device");
  CHECK(failed);
  report = Heartbeat(0);
  report.set_failure("consequence");
  CHECK(job.members.Heartbeat(report, job.now, &failed) ==
        "worker 1 (rank 1) has failed: no space left on device");
  CHECK_FALSE(failed);
}

TEST_CASE("the job is finished when all have left in good order") {
  Job job(2);
  proto::HeartbeatRequest leaving = Heartbeat(0);
  leaving.set_leaving(true);
  CHECK(job.Beat(leaving).empty());
  CHECK(job.members.phase() == JobMembership::Phase::kRunning);
  CHECK_FALSE(job.members.CheckNobodyLeft().ok());
  leaving = Heartbeat(1);
  leaving.set_leaving(true);
  CHECK(job.Beat(leaving).empty());
  CHECK(job.members.phase() == JobMembership::Phase::kFinished);
  CHECK(job.members.CheckJob("adult").code() == absl::StatusCode::kFailedPrecondition);
  CHECK_FALSE(job.Pass(milliseconds(20000)));
}

TEST_CASE("who left is not missed") {
  Job job(2);
  proto::HeartbeatRequest leaving = Heartbeat(0);
  leaving.set_leaving(true);
  job.Beat(leaving);
  for (int i = 0; i < 5; ++i) {
    CHECK_FALSE(job.Pass(milliseconds(4000)));
    job.Beat(Heartbeat(1));
  }
}

TEST_CASE("Hello is refused with the reason") {
  Job job(0);
  job.Join(Hello(0, 2));
  proto::HelloRequest other = Hello(1, 2);

  SECTION("another job") {
    other.set_job("movielens");
    CHECK(Refusal(job.members, other) == "this server works for job 'adult', not for 'movielens'");
  }
  SECTION("an older epoch") {
    other.set_epoch(2);
    CHECK(Refusal(job.members, other) == "epoch 2 of job 'adult' is over: it is at epoch 3");
  }
  SECTION("a newer epoch while the old one runs") {
    other.set_epoch(4);
    CHECK_THAT(Refusal(job.members, other), Catch::Contains("epoch 3 is still running"));
  }
  SECTION("another number of workers") {
    other.set_num_workers(3);
    CHECK_THAT(Refusal(job.members, other), Catch::Contains("num_workers 3"));
  }
  SECTION("another mode") {
    other.set_mode("async");
    CHECK_THAT(Refusal(job.members, other), Catch::Contains("mode async"));
  }
  SECTION("another table") {
    other.mutable_tables(0)->set_dim(8);
    CHECK_THAT(Refusal(job.members, other), Catch::Contains("table 'user'"));
  }
  SECTION("a rank that is taken") {
    other = Hello(0, 2);
    other.set_incarnation(9999);
    CHECK_THAT(Refusal(job.members, other), Catch::Contains("rank 0 of job 'adult' is taken"));
  }
  SECTION("a rank out of range") {
    other.set_rank(2);
    CHECK_THAT(Refusal(job.members, other), Catch::Contains("rank 2 is not below the 2 workers"));
  }
  SECTION("no such mode") {
    other.set_mode("fast");
    CHECK_THAT(Refusal(job.members, other), Catch::Contains("sync or async"));
  }
  SECTION("no workers at all") {
    other.set_num_workers(0);
    CHECK_THAT(Refusal(job.members, other), Catch::Contains("num_workers is 0"));
  }
}

TEST_CASE("Hello again by the same process is a retry") {
  Job job(2);
  job.members.window(1).Record(5);
  const auto again = job.members.CheckJoin(Hello(1, 2));
  REQUIRE(again.ok());
  CHECK_FALSE(*again);
  job.members.Join(Hello(1, 2), job.now);
  CHECK(job.members.window(1).Find(5) == SequenceWindow::State::kApplied);
}

TEST_CASE("a failed job may be started again, not with an older epoch") {
  Job job(2);
  job.members.Fail("cause");
  proto::HelloRequest again = Hello(0, 1);
  again.set_epoch(2);
  CHECK_FALSE(job.members.CheckJoin(again).ok());
  again.set_epoch(4);
  again.set_incarnation(555);
  const auto fresh = job.members.CheckJoin(again);
  REQUIRE(fresh.ok());
  CHECK(*fresh);
  job.members.Join(again, job.now);
  CHECK(job.members.health().ok());
  CHECK(job.members.num_workers() == 1);
  CHECK(job.members.CheckWorker({"adult", 0, 4, 555}).ok());

  SECTION("pushes of the former epoch are refused") {
    const absl::Status late = job.members.CheckWorker({"adult", 0, 3, 100});
    CHECK(late.code() == absl::StatusCode::kFailedPrecondition);
    CHECK_THAT(std::string(late.message()), Catch::Contains("epoch 3"));
  }
  SECTION("and those of a former process") {
    const absl::Status late = job.members.CheckWorker({"adult", 0, 4, 554});
    CHECK(late.code() == absl::StatusCode::kFailedPrecondition);
    CHECK_THAT(std::string(late.message()), Catch::Contains("another process"));
  }
}

TEST_CASE("another job may follow a finished one, with any epoch") {
  Job job(1);
  job.members.Leave(0);
  proto::HelloRequest next = Hello(0, 1);
  next.set_job("movielens");
  next.set_epoch(1);
  CHECK(job.members.CheckJoin(next).ok());
}

TEST_CASE("readers may read, and do not count as workers") {
  Job job(1);
  CHECK_FALSE(job.members.CheckReader("report").ok());
  job.members.AddReader("report", job.now);
  CHECK(job.members.CheckReader("report").ok());
  CHECK(job.members.CheckReader("adult").ok());
  CHECK_FALSE(job.members.CheckJob("report").ok());
  proto::HeartbeatRequest beat = Heartbeat(0);
  beat.set_job("report");
  beat.set_incarnation(1);
  CHECK(job.Beat(beat).empty());
  beat.set_failure("the reader has failed");
  CHECK(job.Beat(beat).empty());
  CHECK(job.members.health().ok());
}

TEST_CASE("readers are bounded: the longest unheard makes room") {
  JobMembership members;
  SteadyTime now{};
  for (size_t i = 0; i <= JobMembership::kReadersMax; ++i) {
    members.AddReader("reader-" + std::to_string(i), now += milliseconds(1));
  }
  CHECK_FALSE(members.CheckReader("reader-0").ok());
  CHECK(members.CheckReader("reader-1").ok());
  CHECK(members.CheckReader("reader-" + std::to_string(JobMembership::kReadersMax)).ok());
}

TEST_CASE("a server that knows no job says so") {
  JobMembership members;
  bool failed = false;
  CHECK_THAT(members.Heartbeat(Heartbeat(0), SteadyTime{}, &failed),
             Catch::Contains("job 'adult'"));
  CHECK_FALSE(failed);
  CHECK(members.CheckJob("adult").code() == absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace pagoda
