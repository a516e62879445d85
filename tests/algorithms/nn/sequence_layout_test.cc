#include "algorithms/nn/sequence_layout.h"

#include "tests/algorithms/nn/gradient_check.h"

namespace pagoda {
namespace {

using nn::PositionOrder;
using nn::SequenceLayout;
using Vars = std::vector<Var>;

template <typename T>
std::vector<T> Values(TestDevice& device, const Tensor& tensor) {
  std::vector<T> values(static_cast<size_t>(tensor.size()));
  const auto bytes = tensor.size() * static_cast<int64_t>(sizeof(T));
  REQUIRE(device.ctx->CopyToHost(tensor, values.data(), bytes).ok());
  return values;
}

}  // namespace

TEST_CASE("a layout says where positions lie") {
  TestDevice device;
  Tape tape(*device.ctx);
  const SequenceLayout layout(tape, {0, 2, 2, 5}, 100);
  REQUIRE(layout.size() == 3);
  REQUIRE(layout.num_rows() == 5);
  REQUIRE(layout.length() == 3);
  REQUIRE(layout.first_sequence() == 100);
  REQUIRE(layout.lengths() == std::vector<int32_t>{2, 0, 3});
  REQUIRE(layout.positions() == std::vector<int32_t>{0, 1, 0, 1, 2});
  REQUIRE(layout.LastRows() == std::vector<int32_t>{1, -1, 4});
  REQUIRE(Values<int32_t>(device, layout.DeviceOffsets()) == layout.offsets());
  REQUIRE(Values<int32_t>(device, layout.KeyCounts(2, 1, false)) ==
          std::vector<int32_t>{2, 2, 0, 0, 3, 3});
  REQUIRE(Values<int32_t>(device, layout.KeyCounts(1, 3, true)) ==
          std::vector<int32_t>{1, 2, 2, 0, 0, 0, 1, 2, 3});
  constexpr int64_t kFirst = 65536;
  REQUIRE(Values<int64_t>(device, layout.RowCounters(4)) ==
          std::vector<int64_t>{100 * kFirst * 4, (100 * kFirst + 1) * 4, 102 * kFirst * 4,
                               (102 * kFirst + 1) * 4, (102 * kFirst + 2) * 4});
  REQUIRE(Values<int64_t>(device, layout.WeightCounters(2, 1)) ==
          std::vector<int64_t>{200 * kFirst * kFirst, 201 * kFirst * kFirst, 202 * kFirst * kFirst,
                               203 * kFirst * kFirst, 204 * kFirst * kFirst,
                               205 * kFirst * kFirst});
  const nn::RotaryTable rotary = layout.Rotary(2, 10000.0);
  REQUIRE(Values<int32_t>(device, rotary.positions) == layout.positions());
  REQUIRE(rotary.turns.shape() == Shape{3, 2});
  REQUIRE(Values<float>(device, rotary.turns)[2] == Approx(std::cos(1.0)));
  REQUIRE(tape.status().ok());
}

TEST_CASE("a layout keeps what it has copied") {
  TestDevice device;
  Tape tape(*device.ctx);
  const SequenceLayout layout(tape, {0, 2, 2, 5}, 100);
  const auto same = [](const Tensor& a, const Tensor& b) { return a.raw() == b.raw(); };
  REQUIRE(same(layout.DeviceOffsets(), layout.DeviceOffsets()));
  REQUIRE(same(layout.KeyCounts(2, 3, true), layout.KeyCounts(2, 3, true)));
  REQUIRE_FALSE(same(layout.KeyCounts(2, 3, true), layout.KeyCounts(2, 3, false)));
  REQUIRE_FALSE(same(layout.KeyCounts(2, 3, true), layout.KeyCounts(1, 3, true)));
  REQUIRE(same(layout.RowCounters(4), layout.RowCounters(4)));
  REQUIRE_FALSE(same(layout.RowCounters(4), layout.RowCounters(5)));
  REQUIRE(same(layout.WeightCounters(2, 3), layout.WeightCounters(2, 3)));
  REQUIRE(same(layout.Rotary(4, 10.0).turns, layout.Rotary(4, 10.0).turns));
  REQUIRE_FALSE(same(layout.Rotary(4, 10.0).turns, layout.Rotary(4, 20.0).turns));
  REQUIRE(same(layout.Rotary(4, 10.0).positions, layout.Rotary(4, 20.0).positions));
}

TEST_CASE("groups part the sequences by length, and keep their numbers and rows") {
  TestDevice device;
  Tape tape(*device.ctx);
  std::vector<int32_t> lengths = {300, 0, 4, 5, 8, 9, 1, 0, 16, 3};
  std::vector<int32_t> offsets = {0};
  for (const int32_t length : lengths) offsets.push_back(offsets.back() + length);
  const SequenceLayout layout(tape, offsets, 100);
  const std::vector<SequenceLayout::Group>& groups = layout.Groups();
  const std::vector<std::vector<size_t>> wanted = {{2, 6, 9}, {3, 4}, {5, 8}, {0}};
  REQUIRE(groups.size() == wanted.size());
  REQUIRE(&layout.Groups() == &groups);
  std::vector<float> numbers(static_cast<size_t>(layout.num_rows()));
  for (size_t row = 0; row < numbers.size(); ++row) numbers[row] = static_cast<float>(row);
  const Var rows = nn::Reshape(nn::Constant(tape, numbers), {layout.num_rows(), 1});
  const std::vector<int64_t> counters = Values<int64_t>(device, layout.RowCounters(3));
  const std::vector<int64_t> heads = Values<int64_t>(device, layout.WeightCounters(2, 1));
  Vars parts;
  for (size_t g = 0; g < groups.size(); ++g) {
    CAPTURE(g);
    const SequenceLayout& group = groups[g].layout;
    std::vector<float> own;
    std::vector<int64_t> own_counters, own_heads;
    for (size_t k = 0; k < wanted[g].size(); ++k) {
      const size_t i = wanted[g][k];
      REQUIRE(group.lengths()[k] == lengths[i]);
      for (size_t h = 0; h < 2; ++h) own_heads.push_back(heads[2 * i + h]);
      for (auto row = static_cast<size_t>(offsets[i]); row < static_cast<size_t>(offsets[i + 1]);
           ++row) {
        own.push_back(numbers[row]);
        own_counters.push_back(counters[row]);
      }
    }
    parts.push_back(nn::GatherRows(rows, {0, layout.num_rows()}, groups[g].gather));
    REQUIRE(Values<float>(device, parts.back().value()) == own);
    REQUIRE(std::vector<float>(groups[g].rows.begin(), groups[g].rows.end()) == own);
    REQUIRE(Values<int64_t>(device, group.RowCounters(3)) == own_counters);
    REQUIRE(Values<int64_t>(device, group.WeightCounters(2, 1)) == own_heads);
  }
  REQUIRE(Values<float>(device, layout.JoinGroups(parts).value()) == numbers);
  REQUIRE(tape.status().ok());
  // Not worth it: few scores, sequences that are alike, none at all.
  REQUIRE(SequenceLayout(tape, {0, 1, 100}, 0).Groups().empty());
  REQUIRE(SequenceLayout(tape, {0, 300, 600}, 0).Groups().empty());
  REQUIRE(SequenceLayout(tape, {0}, 0).Groups().empty());
  REQUIRE(SequenceLayout(tape, {0, 0, 0}, 0).Groups().empty());
}

TEST_CASE("what a layout does to rows has the gradients of finite differences") {
  for (const std::vector<int32_t>& offsets :
       {std::vector<int32_t>{0, 2, 2, 5}, {0}, {0, 0, 0}, {0, 3}}) {
    const int64_t n = static_cast<int64_t>(offsets.size()) - 1, rows = offsets.back();
    CAPTURE(n, rows);
    const auto check = [&](const Shape& shape, const auto& op) {
      GradientCheck({shape}, [&](const Vars& x) {
        return op(SequenceLayout(x[0].tape(), offsets, 0), x[0]);
      }).Run();
    };
    using L = const SequenceLayout&;
    check({rows, 2}, [](L l, const Var& x) { return l.Pad(x); });
    check({rows, 2}, [](L l, const Var& x) { return l.SumRows(x); });
    check({rows, 2}, [](L l, const Var& x) { return l.Unpad(nn::Square(l.Pad(x))); });
    check({n, 2}, [](L l, const Var& x) { return l.Repeat(x); });
    for (const PositionOrder order : {PositionOrder::kFromStart, PositionOrder::kFromEnd}) {
      check({4, 2}, [&](L l, const Var& x) { return l.TakePositions(x, order); });
    }
  }
}

TEST_CASE("rows by position and sequence are the right ones") {
  TestDevice device;
  Tape tape(*device.ctx);
  const SequenceLayout layout(tape, {0, 2, 2, 5}, 0);
  const Var table = tape.Leaf(device.Upload<float>({10, 11, 12, 13}, {4, 1}), false);
  REQUIRE(ValueOf(device, layout.TakePositions(table, PositionOrder::kFromStart)) ==
          std::vector<float>{10, 11, 10, 11, 12});
  REQUIRE(ValueOf(device, layout.TakePositions(table, PositionOrder::kFromEnd)) ==
          std::vector<float>{12, 13, 11, 12, 13});
  const Var three = nn::SliceRows(table, 0, 3);
  REQUIRE(ValueOf(device, layout.Repeat(three)) == std::vector<float>{10, 10, 12, 12, 12});
  const Var rows = tape.Leaf(device.Upload<float>({1, 2, 3, 4, 5}, {5, 1}), false);
  REQUIRE(ValueOf(device, layout.SumRows(rows)) == std::vector<float>{3, 0, 12});
  REQUIRE(ValueOf(device, layout.Pad(rows)) == std::vector<float>{1, 2, 0, 0, 0, 0, 3, 4, 5});
}

TEST_CASE("the last rows of long sequences, and a row appended to each") {
  const nn::RaggedRows kept = nn::KeepLastRows({0, 2, 2, 6, 7}, 2);
  REQUIRE(kept.rows == std::vector<int32_t>{0, 1, 4, 5, 6});
  REQUIRE(kept.offsets == std::vector<int32_t>{0, 2, 2, 4, 5});
  const nn::RaggedRows longer = nn::AppendRows({0, 2, 2, 3});
  REQUIRE(longer.rows == std::vector<int32_t>{0, 1, 3, 4, 2, 5});
  REQUIRE(longer.offsets == std::vector<int32_t>{0, 3, 4, 6});
  REQUIRE(nn::AppendRows({0}).offsets == std::vector<int32_t>{0});
  // Rows 2, 0, 2 of two parts.
  GradientCheck({{2, 3}, {1, 3}}, [](const Vars& x) {
    return nn::TakeRows(nn::ConcatRows({x[0], x[1]}), {2, 0, 2});
  }).Run();
}

TEST_CASE("layouts refuse what does not fit, in words") {
  TestDevice device;
  for (const std::vector<int32_t>& offsets : {std::vector<int32_t>{}, {1, 2}, {0, 3, 2}}) {
    Tape tape(*device.ctx);
    const SequenceLayout layout(tape, offsets, 0);
    RequireInvalid(tape.status(), "do not ascend from 0");
    REQUIRE(layout.size() == 0);
    REQUIRE(layout.DeviceOffsets().absent());
  }
  RequireOpRefused(
      {{2, 3}},
      [](const Vars& x) {
        return nn::TakeRows(x[0], {0, 2});
      },
      "row 2 is not one");
  RequireOpRefused(
      {{2, 3}}, [](const Vars& x) { return nn::TakeRows(x[0], {-1}); }, "row -1 is not one");
  RequireOpRefused(
      {{2, 3}, {2, 4}}, [](const Vars& x) { return nn::ConcatRows(x); }, "rows of different sizes");
  RequireOpRefused(
      {{2, 3}},
      [](const Vars& x) {
        return SequenceLayout(x[0].tape(), {0, 3}, 0)
            .TakePositions(x[0], PositionOrder::kFromStart);
      },
      "a sequence of 3 positions");
}

}  // namespace pagoda
