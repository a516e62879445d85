#include "worker/prefetch.h"

#include <catch2/catch.hpp>

#include "tests/worker/list_reader.h"
#include "tests/worker/scripted_client.h"

namespace pagoda {
namespace {

PrefetchOptions OptionsFor(const Declaration& declaration, OpenReaderFn open) {
  PrefetchOptions options;
  options.reader.schema = OneFeatureSchema();
  options.declaration = &declaration;
  options.open_reader = std::move(open);
  return options;
}

TEST_CASE("batches come in order, prepared, with the position behind each") {
  const Declaration declaration = OneTableDeclaration();
  const auto prefetcher = Prefetcher::Start(OptionsFor(
      declaration, ReadFromList({BatchOfIds({{5, 7}, {5}}), BatchOfIds({}), BatchOfIds({{9}})})));
  REQUIRE(prefetcher.ok());
  const std::vector<std::vector<FeatureId>> unique = {{5, 7}, {}, {9}};
  const std::vector<int64_t> rows_behind = {2, 2, 3};
  for (size_t i = 0; i < 3; ++i) {
    const auto batch = (*prefetcher)->Next(absl::Seconds(10));
    REQUIRE(batch.ok());
    REQUIRE(*batch != nullptr);
    REQUIRE((*batch)->index == static_cast<int64_t>(i));
    REQUIRE((*batch)->is_prepared);
    REQUIRE((*batch)->prepared.unique_ids[0] == unique[i]);
    REQUIRE((*batch)->position.row_in_window == rows_behind[i]);
  }
  for (int again = 0; again < 2; ++again) {
    const auto end = (*prefetcher)->Next(absl::Seconds(10));
    REQUIRE(end.ok());
    REQUIRE(*end == nullptr);
    REQUIRE((*prefetcher)->Ready());
  }
}

TEST_CASE("an error comes after the batches before it, again and again") {
  const Declaration declaration = OneTableDeclaration();
  const auto prefetcher = Prefetcher::Start(OptionsFor(
      declaration, ReadFromList({BatchOfIds({{1}})}, absl::InvalidArgumentError("x.csv:3"))));
  REQUIRE(prefetcher.ok());
  REQUIRE((*prefetcher)->Next(absl::Seconds(10)).ok());
  REQUIRE(absl::IsInvalidArgument((*prefetcher)->Next(absl::Seconds(10)).status()));
  REQUIRE(absl::IsInvalidArgument((*prefetcher)->Next(absl::Seconds(10)).status()));
}

TEST_CASE("a batch that does not fit the schema is an error that names the samples") {
  const Declaration declaration = OneTableDeclaration();
  Batch broken = BatchOfIds({{1}});
  broken.dense = {1.0f};
  const auto prefetcher =
      Prefetcher::Start(OptionsFor(declaration, ReadFromList({std::move(broken)})));
  REQUIRE(prefetcher.ok());
  const auto batch = (*prefetcher)->Next(absl::Seconds(10));
  REQUIRE(absl::IsInvalidArgument(batch.status()));
  REQUIRE_THAT(std::string(batch.status().message()), Catch::Matchers::Contains("1 samples"));
}

TEST_CASE("repeats are the ids that the batch before had, too") {
  const Declaration declaration = OneTableDeclaration();
  PrefetchOptions options = OptionsFor(
      declaration, ReadFromList({BatchOfIds({{1, 2, 3}}), BatchOfIds({{4, 3, 1, 1}}),
                                 BatchOfIds({{2, 4}}), BatchOfIds({{}}), BatchOfIds({{2}})}));
  options.find_repeats = true;
  const auto prefetcher = Prefetcher::Start(options);
  REQUIRE(prefetcher.ok());
  const std::vector<std::vector<int32_t>> repeats = {{}, {1, 2}, {1}, {}, {}};
  for (const std::vector<int32_t>& wanted : repeats) {
    const auto batch = (*prefetcher)->Next(absl::Seconds(10));
    REQUIRE(batch.ok());
    REQUIRE((*batch)->repeats[0] == wanted);
  }
}

TEST_CASE("every id of a table whose rows change with every step is a repeat") {
  const Declaration declaration = OneTableDeclaration();
  PrefetchOptions options =
      OptionsFor(declaration, ReadFromList({BatchOfIds({{1, 2, 3}}), BatchOfIds({{4, 5}})}));
  options.find_repeats = true;
  options.repeat_all = {true};
  const auto prefetcher = Prefetcher::Start(options);
  REQUIRE(prefetcher.ok());
  const std::vector<std::vector<int32_t>> repeats = {{0, 1, 2}, {0, 1}};
  for (const std::vector<int32_t>& wanted : repeats) {
    const auto batch = (*prefetcher)->Next(absl::Seconds(10));
    REQUIRE(batch.ok());
    REQUIRE((*batch)->repeats[0] == wanted);
  }
}

TEST_CASE("only this worker's batches are prepared; the others still come by") {
  const Declaration declaration = OneTableDeclaration();
  PrefetchOptions options = OptionsFor(
      declaration, ReadFromList({BatchOfIds({{1}}), BatchOfIds({{2}}), BatchOfIds({{3}})}));
  options.prepare_every = 2;
  options.prepare_offset = 1;
  const auto prefetcher = Prefetcher::Start(options);
  REQUIRE(prefetcher.ok());
  for (const bool prepared : {false, true, false}) {
    const auto batch = (*prefetcher)->Next(absl::Seconds(10));
    REQUIRE(batch.ok());
    REQUIRE((*batch)->is_prepared == prepared);
    REQUIRE((*batch)->prepared.unique_ids.empty() != prepared);
    REQUIRE((*batch)->prepared.batch.size == 1);
  }
}

TEST_CASE("it runs a bounded number of batches ahead, and ends at any moment") {
  const Declaration declaration = OneTableDeclaration();
  PrefetchOptions options =
      OptionsFor(declaration, ReadFromList(std::vector<Batch>(1000, BatchOfIds({{1}}))));
  options.batches_ahead = 1;
  for (int taken = 0; taken < 20; ++taken) {
    const auto prefetcher = Prefetcher::Start(options);
    REQUIRE(prefetcher.ok());
    for (int i = 0; i < taken; ++i) {
      const auto batch = (*prefetcher)->Next(absl::Seconds(10));
      REQUIRE(batch.ok());
      REQUIRE((*batch)->index == i);
    }
  }
}

// A reader that waits until the test lets it go.
class StuckReader final : public BatchReader {
 public:
  explicit StuckReader(std::atomic<bool>* go) : go_(go) {}
  absl::StatusOr<std::optional<Batch>> Next() override {
    while (!*go_) std::this_thread::yield();
    return std::optional<Batch>();
  }
  ReaderPosition position() const override { return {}; }
  int64_t bad_rows() const override { return 0; }
  double progress() const override { return 0.0; }

 private:
  std::atomic<bool>* const go_;
};

TEST_CASE("a slow reader is waited for as long as the job is healthy, no longer") {
  const Declaration declaration = OneTableDeclaration();
  std::atomic<bool> go{false};
  const auto prefetcher = Prefetcher::Start(
      OptionsFor(declaration,
                 [&](const ReaderOptions&,
                     const ReaderPosition&) -> absl::StatusOr<std::unique_ptr<BatchReader>> {
                   return std::make_unique<StuckReader>(&go);
                 }));
  REQUIRE(prefetcher.ok());
  REQUIRE_FALSE((*prefetcher)->Ready());
  REQUIRE(absl::IsDeadlineExceeded((*prefetcher)->Next(absl::Milliseconds(5)).status()));
  ScriptedClient client;
  client.SetHealth(absl::AbortedError("server a:1 is gone"));
  REQUIRE(absl::IsAborted(NextWhileHealthy(**prefetcher, client).status()));
  client.SetHealth(absl::OkStatus());
  go = true;
  const auto end = NextWhileHealthy(**prefetcher, client);
  REQUIRE(end.ok());
  REQUIRE(*end == nullptr);
}

TEST_CASE("the pass of a batch is right whether the reader turns over early or late") {
  struct Case {
    ReaderPosition after;
    int64_t pass;
  };
  const Declaration declaration = OneTableDeclaration();
  class OneBatch final : public BatchReader {
   public:
    explicit OneBatch(const ReaderPosition& after) : after_(after) {}
    absl::StatusOr<std::optional<Batch>> Next() override {
      return std::optional<Batch>(BatchOfIds({{1}}));
    }
    ReaderPosition position() const override { return after_; }
    int64_t bad_rows() const override { return 0; }
    double progress() const override { return 0.0; }

   private:
    const ReaderPosition after_;
  };
  ReaderPosition middle, late, early;
  middle.epoch = late.epoch = 2;
  middle.row_in_window = 5;
  late.window = 3;
  early.epoch = 3;  // At the very start of the next pass.
  for (const auto& [after, pass] : {Case{middle, 2}, Case{late, 2}, Case{early, 2}}) {
    const auto prefetcher = Prefetcher::Start(OptionsFor(
        declaration,
        [position = after](const ReaderOptions&,
                           const ReaderPosition&) -> absl::StatusOr<std::unique_ptr<BatchReader>> {
          return std::make_unique<OneBatch>(position);
        }));
    REQUIRE(prefetcher.ok());
    const auto batch = (*prefetcher)->Next(absl::Seconds(10));
    REQUIRE(batch.ok());
    REQUIRE((*batch)->pass == pass);
  }
}

}  // namespace
}  // namespace pagoda
