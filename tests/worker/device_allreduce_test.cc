#include "worker/device_allreduce.h"

#include <catch2/catch.hpp>
#include <thread>

#include "base/thread_pool.h"
#include "tests/worker/thread_allreduce.h"
#include "worker/allreduce_nccl.h"

namespace pagoda {
namespace {

using Range = std::pair<int64_t, int64_t>;

// Trainable of 100, 5, 40 and 3 elements; state of 7 in between.
struct Fixture {
  Fixture() : pool(1) {
    ctx = *Context::Create({}, &pool);
    std::vector<DenseDecl> decls;
    const auto add = [&](const char* name, int64_t size, bool trainable) {
      DenseDecl& decl = decls.emplace_back();
      decl.name = name;
      decl.shape = {size};
      decl.trainable = trainable;
    };
    add("a", 100, true);
    add("b", 5, true);
    add("state", 7, false);
    add("c", 40, true);
    add("d", 3, true);
    parameters = *ParameterSet::Create(*ctx, decls, 1);
  }
  ThreadPool pool;
  std::unique_ptr<Context> ctx;
  std::unique_ptr<ParameterSet> parameters;
  std::vector<Range> started;
  GradientBuckets::StartFn start = [this](int64_t begin, int64_t end) {
    started.emplace_back(begin, end);
    return absl::OkStatus();
  };
};

TEST_CASE("buckets are whole parameters from the last, and go in that order when final") {
  Fixture f;
  GradientBuckets buckets(*f.parameters, 40 * 4);
  REQUIRE(buckets.num_buckets() == 2);
  for (int step = 0; step < 2; ++step) {
    f.started.clear();
    buckets.BeginStep();
    REQUIRE(buckets.Final(DenseHandle{3}, f.start).ok());  // c; d is missing.
    REQUIRE(f.started.empty());
    REQUIRE(buckets.Final(DenseHandle{0}, f.start).ok());
    REQUIRE(buckets.Final(DenseHandle{1}, f.start).ok());  // The second is complete, but waits.
    REQUIRE(f.started.empty());
    REQUIRE(buckets.Final(DenseHandle{4}, f.start).ok());
    REQUIRE(f.started == std::vector<Range>{{105, 148}, {0, 105}});
    REQUIRE(buckets.AllFinal(f.start).ok());
    REQUIRE(f.started.size() == 2);
  }
}

TEST_CASE("what never became final goes at the end; sizes of one and of all") {
  Fixture f;
  GradientBuckets each(*f.parameters, 1);
  each.BeginStep();
  REQUIRE(each.Final(DenseHandle{3}, f.start).ok());
  REQUIRE(each.AllFinal(f.start).ok());
  REQUIRE(f.started == std::vector<Range>{{145, 148}, {105, 145}, {100, 105}, {0, 100}});
  f.started.clear();
  GradientBuckets all(*f.parameters, int64_t{1} << 40);
  all.BeginStep();
  REQUIRE(all.AllFinal(f.start).ok());
  REQUIRE(f.started == std::vector<Range>{{0, 148}});
  GradientBuckets failing(*f.parameters, 1);
  failing.BeginStep();
  REQUIRE(
      failing.AllFinal([](int64_t, int64_t) { return absl::DataLossError("planted"); }).code() ==
      absl::StatusCode::kDataLoss);
}

TEST_CASE("several sums under way end with the same bits on every worker, step after step") {
  std::vector<DeviceKind> kinds = {DeviceKind::kCpu, DeviceKind::kFake};
#if defined(PAGODA_GPU_EMULATED)
  kinds.push_back(DeviceKind::kEmulated);
#endif
  for (const DeviceKind kind : kinds) {
    CAPTURE(static_cast<int>(kind));
    constexpr int kWorkers = 3;
    ThreadAllReduceGroup group(kWorkers);
    std::vector<std::vector<float>> results(kWorkers);
    std::vector<absl::Status> statuses(kWorkers);
    std::vector<std::thread> threads;
    for (int r = 0; r < kWorkers; ++r) {
      threads.emplace_back([&, r] {
        const auto work = [&]() -> absl::Status {
          ThreadPool pool(1);
          ThreadAllReduce allreduce(&group, r);
          PAGODA_ASSIGN_OR_RETURN(const auto ctx, Context::Create({kind, 0}, &pool));
          PAGODA_ASSIGN_OR_RETURN(const auto device, MakeHostDeviceAllReduce(*ctx, &allreduce));
          for (int step = 0; step < 3; ++step) {
            std::vector<float> host(101);
            for (size_t i = 0; i < host.size(); ++i) {
              host[i] = static_cast<float>(r * 1000 + step) + static_cast<float>(i);
            }
            PAGODA_ASSIGN_OR_RETURN(const Tensor from, ctx->Upload<float>(host, {101}));
            PAGODA_ASSIGN_OR_RETURN(const Tensor to, ctx->Zeros({101}));
            for (const auto& [begin, end] : {Range{60, 101}, {60, 60}, {1, 60}, {0, 1}}) {
              PAGODA_RETURN_IF_ERROR(
                  device->Start(from.Flat(begin, {end - begin}), to.Flat(begin, {end - begin})));
            }
            PAGODA_RETURN_IF_ERROR(device->Finish());
            PAGODA_RETURN_IF_ERROR(device->Finish());  // Nothing was started.
            PAGODA_RETURN_IF_ERROR(ctx->CopyToHost(to, host.data(), 404));
            auto& all = results[static_cast<size_t>(r)];
            all.insert(all.end(), host.begin(), host.end());
          }
          return absl::OkStatus();
        };
        statuses[static_cast<size_t>(r)] = work();
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const absl::Status& status : statuses) {
      INFO(status);
      REQUIRE(status.ok());
    }
    for (const std::vector<float>& result : results) {
      REQUIRE(result.size() == 303);
      for (size_t i = 0; i < result.size(); ++i) {
        REQUIRE(result[i] == 3000.0f + 3.0f * static_cast<float>(i / 101 + i % 101));
      }
    }
  }
}

TEST_CASE("a peer that is gone ends a sum, by name") {
  ThreadPool pool(1);
  ThreadAllReduceGroup group(2);
  ThreadAllReduce allreduce(&group, 0);
  const auto ctx = *Context::Create({}, &pool);
  const auto device = *MakeHostDeviceAllReduce(*ctx, &allreduce);
  const Tensor from = *ctx->Zeros({4}), to = *ctx->Zeros({4});
  REQUIRE(device->Start(from, to).ok());
  group.Break(1);
  const absl::Status gone = device->Finish();
  REQUIRE(gone.code() == absl::StatusCode::kUnavailable);
  REQUIRE_THAT(std::string(gone.message()), Catch::Matchers::Contains("worker 1"));
}

TEST_CASE("sums that were given up are gone, and no others start") {
  ThreadPool pool(1);
  ThreadAllReduceGroup group(2);  // The other worker never comes.
  ThreadAllReduce allreduce(&group, 0);
  const auto ctx = *Context::Create({}, &pool);
  const auto device = *MakeHostDeviceAllReduce(*ctx, &allreduce);
  const Tensor from = *ctx->Zeros({4}), to = *ctx->Zeros({4});
  REQUIRE(device->Start(from, to).ok());
  device->Abort();
  device->Abort();
  REQUIRE(absl::IsCancelled(device->Start(from, to)));
  REQUIRE(absl::IsCancelled(device->Finish()));
}

TEST_CASE("a build without NCCL says so") {
  if (!NcclVersion().empty()) return;
  ThreadPool pool(1);
  const auto alone = SingleWorker();
  const auto ctx = *Context::Create({}, &pool);
  REQUIRE(MakeNcclAllReduce(*ctx, alone.get()).status().code() == absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace pagoda
