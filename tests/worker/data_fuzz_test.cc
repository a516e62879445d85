// A short, repeatable run of the fuzzers' bodies on mutated samples: every bug that a
// fuzzer finds becomes a sample here.
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "base/random.h"
#include "tests/fuzz/data_fuzz.h"
#include "tests/worker/data_files.h"

namespace pagoda {
namespace {

// Changes a few bytes, or cuts, doubles or splices; the same for the same key.
std::string Mutated(std::string text, RandomKey key) {
  uint64_t counter = 0;
  const auto below = [&](uint64_t bound) { return RandomBelow(key, counter++, bound); };
  constexpr char kNasty[] = "\0\n\r\t ,\"\":|#0-+.eE9n\xff\xef\x80?";
  const uint64_t changes = 1 + below(4);
  for (uint64_t i = 0; i < changes && !text.empty(); ++i) {
    const size_t at = below(text.size());
    const size_t length = below(std::min<size_t>(text.size() - at, 20) + 1);
    switch (below(5)) {
      case 0: text[at] = static_cast<char>(below(256)); break;
      case 1: text[at] = kNasty[below(sizeof(kNasty))]; break;
      case 2: text.insert(at, 1, kNasty[below(sizeof(kNasty))]); break;
      case 3: text.erase(at, length); break;
      default: text.insert(below(text.size()), text.substr(at, length)); break;
    }
  }
  return text;
}

void Run(void (*body)(const uint8_t*, size_t), const std::vector<std::string>& samples,
         uint64_t rounds) {
  for (uint64_t round = 0; round < rounds; ++round) {
    for (size_t s = 0; s < samples.size(); ++s) {
      const RandomKey key = RandomKey{round}.Derive(s);
      std::string input = samples[s];
      if (round > 0) input = Mutated(std::move(input), key);
      input.insert(0, 1, static_cast<char>(RandomBelow(key, 999, 64)));
      CAPTURE(round, s);
      body(reinterpret_cast<const uint8_t*>(input.data()), input.size());
    }
  }
}

}  // namespace

TEST_CASE("mutated rows never break the parsers") {
  Run(FuzzRow,
      {"", "a,1|2,3.5,-4,x::y::z,1,0.5,g", "\"a,\"\"b\",1, 2 ,3,\"x::y\",0,1,\"\"",
       "a\t12|18446744073709551615\t1e300\t\t::\t1\t2\t?", "1 qid:3 1:0.5 3:1e5 4:-2 9:1 # comment",
       "0 0:1:1 1:22:0.5 2:3:1 0:18446744073709551615:1", ",,,,,,,", ",,,,,1,1,",
       "nan,inf,1e999,-,::,1.0,0,x", std::string(300, ',')},
      400);
}

TEST_CASE("mutated files never break the readers") {
  const std::string text =
      "\xef\xbb\xbfid,x\r\n1,2\n\n  \n\"a\",\"b\"\r\n3,4" + std::string(100, 'x') + "\n5,6";
  Run(FuzzFile,
      {"", text, testing::Gzip(text), testing::Zstd(text),
       testing::Gzip(text) + testing::Gzip("7,8\n"), testing::Zstd(text) + testing::Zstd("7,8\n"),
       testing::Gzip(std::string(100000, '\n')), std::string("\x28\xb5\x2f\xfd\x50\x2a", 6)},
      250);
}

}  // namespace pagoda
