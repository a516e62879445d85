#include "base/heap.h"

#include <catch2/catch.hpp>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

namespace pagoda {
namespace {

int64_t ResidentKilobytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  int64_t kilobytes = 0;
  while (status >> word) {
    if (word == "RssAnon:" && status >> kilobytes) break;
  }
  return kilobytes;
}

TEST_CASE("free pages between blocks in use go back to the system, blocks stay") {
  constexpr size_t kBlock = 100000;
  constexpr size_t kBlocks = 800;
  std::vector<std::unique_ptr<std::string>> blocks;
  for (size_t i = 0; i < kBlocks; ++i) blocks.push_back(std::make_unique<std::string>(kBlock, 'x'));
  const int64_t before = ResidentKilobytes();
  for (size_t i = 0; i < kBlocks; i += 2) blocks[i].reset();
  ReturnFreeHeap();
  // A sanitizer's malloc keeps what is freed for a while.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK(ResidentKilobytes() < before - static_cast<int64_t>(kBlocks / 2 * kBlock / 1024 / 2));
#endif
  CHECK(before > 0);
  for (size_t i = 1; i < kBlocks; i += 2) REQUIRE(*blocks[i] == std::string(kBlock, 'x'));
}

}  // namespace
}  // namespace pagoda
