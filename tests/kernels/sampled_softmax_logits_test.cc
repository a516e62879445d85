#include "kernels/sampled_softmax_logits.h"

#include "tests/kernels/gradient_check.h"

namespace pagoda {
namespace {

struct Case {
  int64_t n, m;
};
constexpr Case kCases[] = {{0, 3}, {1, 0}, {1, 1}, {7, 5}, {150, 8}, {5, 2000}, {3000, 4}};
constexpr float kTemperature = 0.3f;

std::vector<int64_t> RandomIds(uint64_t seed, int64_t n) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < n; ++i) {
    // Beyond 32 bits, and alike in the lower ones.
    const uint64_t id = RandomBelow(RandomKey{seed}, static_cast<uint64_t>(i), 6);
    ids.push_back(static_cast<int64_t>(id << 40));
  }
  return ids;
}

// One set of operands, and where they lie.
struct World {
  World(const Case& size, bool one_list, bool with_log_q)
      : n(size.n),
        m(size.m),
        listed(one_list ? m : n * m),
        corrected(with_log_q),
        shared(one_list) {
    positives = RandomFloats(1, n);
    negatives = RandomFloats(2, n * m);
    own = RandomIds(3, n);
    candidates = RandomIds(4, listed);
    positive_log_q = RandomFloats(5, n);
    negative_log_q = RandomFloats(6, listed);
    dout = RandomFloats(7, n * (m + 1));
    old = RandomFloats(8, n * (m + 1));
  }
  size_t Listed(int64_t i, int64_t j) const { return static_cast<size_t>(shared ? j : i * m + j); }
  bool Hit(int64_t i, int64_t j) const {
    return candidates[Listed(i, j)] == own[static_cast<size_t>(i)];
  }
  std::vector<float> Run(TestDevice& device, float beta) const {
    Context& ctx = *device.ctx;
    const Shape list = shared ? Shape{m} : Shape{n, m};
    const SampledCandidateIds ids = {device.Upload(own, {n}), device.Upload(candidates, list)};
    SampledLogQ log_q;
    if (corrected) {
      log_q = {device.Upload(positive_log_q, {n}), device.Upload(negative_log_q, list)};
    }
    const Tensor out = *ctx.Empty({n, 1 + m});
    REQUIRE(SampledSoftmaxLogitsForward(ctx, device.Upload(positives, {n}),
                                        device.Upload(negatives, {n, m}), ids, log_q, kTemperature,
                                        out)
                .ok());
    const Tensor slopes = device.Upload(dout, {n, 1 + m});
    const Tensor before = device.Upload(old, {n * (1 + m)});
    const Tensor dpositives = beta == 0.0f ? *ctx.Empty({n}) : before.Flat(0, {n});
    const Tensor dnegatives = beta == 0.0f ? *ctx.Empty({n, m}) : before.Flat(n, {n, m});
    // One after the other, and the other alone.
    REQUIRE(SampledSoftmaxLogitsBackward(ctx, slopes, ids, kTemperature, beta, dpositives, Tensor())
                .ok());
    REQUIRE(SampledSoftmaxLogitsBackward(ctx, slopes, ids, kTemperature, beta, Tensor(), dnegatives)
                .ok());
    std::vector<float> all = device.Download(out);
    Append(&all, device.Download(dpositives));
    Append(&all, device.Download(dnegatives));
    return all;
  }

  int64_t n, m, listed;
  bool corrected, shared;
  std::vector<float> positives, negatives, positive_log_q, negative_log_q, dout, old;
  std::vector<int64_t> own, candidates;
};

std::vector<Exact> Oracle(const World& w, float beta) {
  std::vector<Exact> out, dpositives, dnegatives;
  const double temperature = double{kTemperature};
  for (int64_t i = 0; i < w.n; ++i) {
    const auto row = static_cast<size_t>(i);
    for (int64_t j = -1; j < w.m; ++j) {
      Exact logit, slope;
      const size_t at = static_cast<size_t>(i * (w.m + 1) + j + 1);
      const bool hit = j >= 0 && w.Hit(i, j);
      const float score = j < 0 ? w.positives[row] : w.negatives[static_cast<size_t>(i * w.m + j)];
      logit.Add((hit ? double{kHitScore} : double{score}) / temperature);
      if (w.corrected) {
        logit.Add(-double{j < 0 ? w.positive_log_q[row] : w.negative_log_q[w.Listed(i, j)]});
      }
      slope.Add(hit ? 0.0 : double{w.dout[at]} / temperature);
      const size_t place = static_cast<size_t>(j < 0 ? i : w.n + i * w.m + j);
      slope.Add(beta == 0.0f ? 0.0 : double{beta} * double{w.old[place]});
      out.push_back(logit);
      (j < 0 ? dpositives : dnegatives).push_back(slope);
    }
  }
  out.insert(out.end(), dpositives.begin(), dpositives.end());
  out.insert(out.end(), dnegatives.begin(), dnegatives.end());
  return out;
}

TEST_CASE("SampledSoftmaxLogits agrees with its formula in double, forward and backward") {
  for (const Case& size : kCases) {
    for (const bool shared : {true, false}) {
      for (const bool corrected : {true, false}) {
        const float beta = corrected ? 0.5f : shared ? 1.0f : 0.0f;
        CAPTURE(size.n, size.m, shared, corrected);
        const World world(size, shared, corrected);
        RequireNear(RunEverywhere([&](TestDevice& device) { return world.Run(device, beta); }),
                    Oracle(world, beta));
      }
    }
  }
}

TEST_CASE("A hit's logit is out of any softmax, whatever the temperature") {
  // At temperature 1 its share is exp(-1e6): none. log_q does not bring it back.
  TestDevice device;
  const Tensor out = *device.ctx->Empty({1, 3});
  const SampledCandidateIds ids = {device.Upload<int64_t>({7}, {1}),
                                   device.Upload<int64_t>({7, 8}, {2})};
  const SampledLogQ log_q = {device.Upload<float>({-1}, {1}), device.Upload<float>({-20, -2}, {2})};
  REQUIRE(SampledSoftmaxLogitsForward(*device.ctx, device.Upload<float>({0.5f}, {1}),
                                      device.Upload<float>({0.5f, 0.25f}, {1, 2}), ids, log_q, 0.5f,
                                      out)
              .ok());
  REQUIRE(device.Download(out) == std::vector<float>{2.0f, -2e6f + 20.0f, 2.5f});
}

TEST_CASE("SampledSoftmaxLogits refuses what does not fit, by name, and writes nothing") {
  TestDevice device;
  Context& ctx = *device.ctx;
  const Tensor two = device.Upload<float>({1, 2}, {2});
  const Tensor scores = device.Upload(RandomFloats(1, 6), {2, 3});
  const Tensor out = device.Upload(std::vector<float>(8, 9.0f), {2, 4});
  const Tensor own = device.Upload<int64_t>({1, 2}, {2});
  const Tensor list = device.Upload<int64_t>({1, 2, 3}, {3});
  const SampledCandidateIds ids = {own, list};
  const auto refused = [&](const SampledCandidateIds& with, const SampledLogQ& log_q,
                           const Tensor& to, float temperature, const std::string& word) {
    RequireInvalid(SampledSoftmaxLogitsForward(ctx, two, scores, with, log_q, temperature, to),
                   word);
  };
  refused(ids, {}, scores, 1.0f, "out");
  refused(ids, {}, out, 0.0f, "temperature");
  refused({own, own}, {}, out, 1.0f, "negative ids");
  refused({list, list}, {}, out, 1.0f, "positives");
  refused({Tensor(), list}, {}, out, 1.0f, "positive ids");
  refused(ids, {two, Tensor()}, out, 1.0f, "one log_q");
  refused(ids, {two, two}, out, 1.0f, "negative log_q");
  RequireInvalid(SampledSoftmaxLogitsBackward(ctx, scores, ids, 1.0f, 0.0f, two, scores),
                 "negative ids");
  RequireInvalid(SampledSoftmaxLogitsBackward(ctx, out, ids, 1.0f, 0.0f, two, two), "dnegatives");
  RequireInvalid(SampledSoftmaxLogitsBackward(ctx, out, ids, 1.0f, 0.0f, scores, scores),
                 "dpositives");
  REQUIRE(device.Download(out) == std::vector<float>(8, 9.0f));
}

}  // namespace
}  // namespace pagoda
