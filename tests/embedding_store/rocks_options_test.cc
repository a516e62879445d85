#include "embedding_store/rocks_options.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

using Catch::Contains;
using rocksdb::Status;

TEST_CASE("RocksDB's errors keep their words and get the store's codes") {
  CHECK(FromRocks(Status::OK(), "x").ok());
  const absl::Status damaged = FromRocks(Status::Corruption("block 7"), "reading row 5");
  CHECK(absl::IsDataLoss(damaged));
  CHECK_THAT(std::string(damaged.message()), Contains("block 7") && Contains("reading row 5"));
  CHECK(absl::IsResourceExhausted(FromRocks(Status::NoSpace("no space"), "adding a run")));
  CHECK(absl::IsFailedPrecondition(FromRocks(Status::IOError("lock held"), "opening")));
  CHECK(absl::IsDataLoss(FromRocks(Status::IOError("No such file"), "opening")));
  CHECK(absl::IsUnavailable(FromRocks(Status::IOError("cable"), "opening")));
  CHECK(absl::IsInternal(FromRocks(Status::NotSupported("x"), "opening")));
}

TEST_CASE("files grow with the runs") {
  RocksSettings small;
  small.cache_bytes = 1 << 20;
  small.run_bytes = 1 << 20;
  const rocksdb::Options few = MakeRocksOptions(small);
  RocksSettings large = small;
  large.run_bytes = int64_t{4} << 30;
  const rocksdb::Options many = MakeRocksOptions(large);
  CHECK(few.target_file_size_base < many.target_file_size_base);
  CHECK(many.max_compaction_bytes == kMergeFilesMax * many.target_file_size_base);
  CHECK(few.create_if_missing == false);
  CHECK(few.paranoid_checks);
}

}  // namespace
}  // namespace pagoda
