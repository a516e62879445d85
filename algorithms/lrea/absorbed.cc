#include "algorithms/lrea/absorbed.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pagoda::lrea {
namespace {

using Doubles = std::vector<double>;

size_t Size(int64_t count) {
  return static_cast<size_t>(count);
}

// kernels/layer_norm.h of one row.
Doubles Normed(absl::Span<const float> row, const std::vector<float>& gamma,
               const std::vector<float>& beta) {
  constexpr double kEpsilon = 1e-5;
  const double d = static_cast<double>(row.size());
  double mean = 0.0, variance = 0.0;
  for (const float x : row) mean += double{x} / d;
  for (const float x : row) variance += (double{x} - mean) * (double{x} - mean) / d;
  Doubles out;
  for (size_t c = 0; c < row.size(); ++c) {
    const double unit = (double{row[c]} - mean) / std::sqrt(variance + kEpsilon);
    out.push_back(unit * double{gamma[c]} + double{beta[c]});
  }
  return out;
}

// w [rows, x.size()] x.
Doubles Times(const std::vector<float>& w, const Doubles& x) {
  Doubles y(w.size() / x.size(), 0.0);
  for (size_t i = 0; i < y.size(); ++i) {
    for (size_t c = 0; c < x.size(); ++c) y[i] += double{w[i * x.size() + c]} * x[c];
  }
  return y;
}

void Exponentiate(Doubles* x) {
  const double most = *std::max_element(x->begin(), x->end());
  double sum = 0.0;
  for (double& v : *x) sum += v = std::exp(v - most);
  for (double& v : *x) v /= sum;
}

// Of each event, newest first, how much of it each compressed event takes (C) and gives (D).
struct Projections {
  std::vector<Doubles> compress, expand;  // [l][rank]
};

Projections FixedProjections(const LowRankWeights& w, size_t l) {
  const size_t rank = Size(w.options.rank);
  Projections p;
  for (size_t j = 0; j < l; ++j) {
    const auto at = static_cast<std::ptrdiff_t>(j * rank);
    const auto end = at + static_cast<std::ptrdiff_t>(rank);
    p.compress.emplace_back(w.compress.begin() + at, w.compress.begin() + end);
    p.expand.emplace_back(w.expand.begin() + at, w.expand.begin() + end);
  }
  return p;
}

Projections AdaptiveProjections(const LowRankWeights& w, const std::vector<Doubles>& events) {
  Projections p;
  for (const Doubles& event : events) p.expand.push_back(Times(w.seeds, Times(w.assign, event)));
  p.compress = p.expand;
  for (size_t k = 0; k < Size(w.options.rank) && !events.empty(); ++k) {
    Doubles column;
    for (const Doubles& scores : p.compress) column.push_back(scores[k]);
    Exponentiate(&column);
    for (size_t j = 0; j < column.size(); ++j) p.compress[j][k] = column[j];
  }
  for (Doubles& scores : p.expand) Exponentiate(&scores);
  return p;
}

}  // namespace

absl::StatusOr<LowRankWeights> FindLowRankWeights(
    const LowRankOptions& options, const std::string& name,
    const std::function<std::vector<float>(const std::string&)>& values) {
  LowRankWeights w;
  w.options = options;
  absl::Status status;
  const auto find = [&](const char* part, int64_t size) {
    std::vector<float> found = values(name + part);
    if (!status.ok()) return found;
    if (found.empty()) {
      status = absl::NotFoundError(absl::StrCat("there is no parameter '", name, part, "'"));
    } else if (found.size() != Size(size)) {
      status = absl::InvalidArgumentError(absl::StrCat("parameter '", name, part, "' has ",
                                                       found.size(), " values, expected ", size));
    }
    return found;
  };
  w.query = find(".query.weight", options.width * options.candidate_dim);
  w.key = find(".key.weight", options.width * options.event_dim);
  w.value = find(".value.weight", options.value_width * options.event_dim);
  w.candidate_gamma = find(".candidate_norm.gamma", options.candidate_dim);
  w.candidate_beta = find(".candidate_norm.beta", options.candidate_dim);
  w.event_gamma = find(".event_norm.gamma", options.event_dim);
  w.event_beta = find(".event_norm.beta", options.event_dim);
  if (options.projection == Projection::kFixed) {
    w.compress = find(".compress", options.length * options.rank);
    w.expand = find(".expand", options.length * options.rank);
  } else {
    w.assign = find(".assign.weight", options.width * options.event_dim);
    w.seeds = find(".seeds", options.rank * options.width);
  }
  PAGODA_RETURN_IF_ERROR(status);
  return w;
}

absl::StatusOr<UserRecord> Absorb(const LowRankWeights& weights, absl::Span<const float> events,
                                  uint64_t model_version) {
  const LowRankOptions& o = weights.options;
  const size_t width = Size(o.event_dim), rank = Size(o.rank);
  if (events.size() % width != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(events.size(), " values are no whole events of ", width));
  }
  const size_t all = events.size() / width, l = std::min(all, Size(o.length));
  std::vector<Doubles> normed;  // Newest first.
  for (size_t j = 0; j < l; ++j) {
    normed.push_back(Normed(events.subspan((all - 1 - j) * width, width), weights.event_gamma,
                            weights.event_beta));
  }
  const Projections p = o.projection == Projection::kFixed ? FixedProjections(weights, l)
                                                           : AdaptiveProjections(weights, normed);
  std::vector<Doubles> keys(rank, Doubles(Size(o.width), 0.0));
  std::vector<Doubles> values(rank, Doubles(Size(o.value_width), 0.0));
  for (size_t j = 0; j < l; ++j) {
    const Doubles key = Times(weights.key, normed[j]), value = Times(weights.value, normed[j]);
    for (size_t k = 0; k < rank; ++k) {
      for (size_t c = 0; c < key.size(); ++c) keys[k][c] += p.compress[j][k] * key[c];
      for (size_t c = 0; c < value.size(); ++c) {
        values[k][c] += p.expand[j][k] * value[c] / static_cast<double>(l);
      }
    }
  }
  UserRecord record = {model_version, o.candidate_dim, o.rank, o.value_width, {}, {}};
  const double root = 1.0 / std::sqrt(static_cast<double>(o.width));
  for (size_t c = 0; c < Size(o.candidate_dim); ++c) {
    for (size_t k = 0; k < rank; ++k) {
      double sum = 0.0;
      for (size_t h = 0; h < Size(o.width); ++h) {
        sum += double{weights.query[h * Size(o.candidate_dim) + c]} * keys[k][h];
      }
      record.a.push_back(static_cast<float>(sum * root));
    }
  }
  for (const Doubles& row : values) {
    for (const double value : row) record.m.push_back(static_cast<float>(value));
  }
  return record;
}

std::vector<float> NormedCandidate(const LowRankWeights& weights, absl::Span<const float> row) {
  const Doubles normed = Normed(row, weights.candidate_gamma, weights.candidate_beta);
  return std::vector<float>(normed.begin(), normed.end());
}

absl::StatusOr<Attended> Attend(const UserRecord& record, uint64_t model_version,
                                absl::Span<const float> candidate) {
  if (record.model_version != model_version) {
    return absl::FailedPreconditionError(
        absl::StrCat("the user's record is of model version ", record.model_version,
                     ", and the candidate is scored with version ", model_version));
  }
  if (candidate.size() != Size(record.candidate_dim)) {
    return absl::InvalidArgumentError(absl::StrCat("the candidate has ", candidate.size(),
                                                   " values, the record's have ",
                                                   record.candidate_dim));
  }
  Attended attended;
  const auto add = [&attended](double a, double b, double* to) {
    *to += a * b;
    ++attended.multiply_adds;
  };
  Doubles z(Size(record.rank), 0.0), o(Size(record.value_width), 0.0);
  for (size_t c = 0; c < candidate.size(); ++c) {
    for (size_t k = 0; k < z.size(); ++k) {
      add(double{candidate[c]}, double{record.a[c * z.size() + k]}, &z[k]);
    }
  }
  for (size_t k = 0; k < z.size(); ++k) {
    for (size_t c = 0; c < o.size(); ++c) add(z[k], double{record.m[k * o.size() + c]}, &o[c]);
  }
  attended.output.assign(o.begin(), o.end());
  return attended;
}

}  // namespace pagoda::lrea
