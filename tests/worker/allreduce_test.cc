#include "worker/allreduce.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

TEST_CASE("a single worker's sums are its own values") {
  auto allreduce = SingleWorker();
  CHECK(allreduce->rank() == 0);
  CHECK(allreduce->num_workers() == 1);
  std::vector<float> floats = {1.5f, -2.0f};
  std::vector<double> doubles = {0.25};
  CHECK(allreduce->Sum(std::span<float>(floats)).ok());
  CHECK(allreduce->Sum(std::span<double>(doubles)).ok());
  CHECK(floats == std::vector<float>{1.5f, -2.0f});
  CHECK(doubles == std::vector<double>{0.25});
  CHECK(allreduce->Gather(doubles).value() == doubles);
  CHECK(allreduce->Gather({}).value().empty());
  CHECK(allreduce->Barrier().ok());
}

}  // namespace
}  // namespace pagoda
