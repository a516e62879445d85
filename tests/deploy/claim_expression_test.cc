#include "deploy/claim_expression.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <map>

using namespace pagoda;

namespace {

double Value(const std::string& text, std::map<MeasuredName, double> values = {}) {
  const absl::StatusOr<ClaimExpression> expression = ClaimExpression::Parse(text);
  INFO(text << ": " << expression.status());
  REQUIRE(expression.ok());
  return expression->Evaluate([&](const MeasuredName& name) { return values.at(name); });
}

std::string Refusal(const std::string& text) {
  const absl::StatusOr<ClaimExpression> expression = ClaimExpression::Parse(text);
  INFO(text);
  REQUIRE_FALSE(expression.ok());
  return std::string(expression.status().message());
}

}  // namespace

TEST_CASE("claim expressions bind as arithmetic does") {
  CHECK(Value("1 - 2 - 3") == -4.0);
  CHECK(Value("2+3*4/6") == 4.0);
  CHECK(Value("-(1.5 - .5) * 2") == -2.0);
  CHECK(Value("2 - -3") == 5.0);
  CHECK(Value("min(3, 1, 2) + max(3, 1, 2) * abs(1 - 3)") == 7.0);
}

TEST_CASE("claim expressions look up metrics of arms, and list each once") {
  const auto expression = ClaimExpression::Parse("gauc(usd)-gauc( base ) + 0.5 * gauc(usd)");
  REQUIRE(expression.ok());
  CHECK(expression->names() == std::vector<MeasuredName>{{"gauc", "usd"}, {"gauc", "base"}});
  CHECK(Value("gauc(usd)-gauc( base ) + 0.5 * gauc(usd)",
              {{{"gauc", "usd"}, 0.7}, {{"gauc", "base"}, 0.6}}) == Approx(0.45));
}

TEST_CASE("claim expressions keep what is not defined") {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  CHECK(std::isnan(Value("max(a(b), 1)", {{{"a", "b"}, kNan}})));
  CHECK(std::isnan(Value("max(1, a(b))", {{{"a", "b"}, kNan}})));
  CHECK(std::isnan(Value("0 * a(b)", {{{"a", "b"}, kNan}})));
  CHECK(std::isnan(Value("1 / (2 - 2)")));
  CHECK(std::isnan(Value("abs(a(b))", {{{"a", "b"}, kNan}})));
}

TEST_CASE("claim expressions are refused in words") {
  CHECK(Refusal("") == "\"\": expected a number, \"(\" or metric(arm) at column 1, found the end");
  CHECK(Refusal("1 +") ==
        "\"1 +\": expected a number, \"(\" or metric(arm) at column 4, found the end");
  CHECK(Refusal("(1") == "\"(1\": expected \")\" at column 3, found the end");
  CHECK(Refusal("1 2") == "\"1 2\": expected an operator or the end at column 3, found 2");
  CHECK(Refusal("gauc") == "\"gauc\": expected \"(\" after gauc at column 5, found the end");
  CHECK(Refusal("gauc()") == "\"gauc()\": expected the name of an arm at column 6, found )");
  CHECK(Refusal("gauc(a, b)") == "\"gauc(a, b)\": expected \")\" at column 7, found ,");
  CHECK(Refusal("abs(1, 2)") == "\"abs(1, 2)\": expected \")\" at column 6, found ,");
  CHECK(Refusal("1..2") == "\"1..2\": expected a number at column 1, found 1");
  CHECK(Refusal(std::string(1000, '(')).find("fewer parentheses") != std::string::npos);
  CHECK(Refusal(std::string(5000, '1')).find("at most 4096 characters") != std::string::npos);
  CHECK(Refusal(std::string(1000, '-')).find("fewer signs") != std::string::npos);
}
