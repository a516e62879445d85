#include "deploy/claim_report.h"

#include <catch2/catch.hpp>

#include <cmath>

#include "tests/deploy/claim_fixture.h"

using namespace pagoda;

namespace {

struct Reported {
  ScratchDirectory scratch;
  Claim claim = ReadClaimWith(scratch).value();
  ClaimRunOptions options;
  ClaimValues values;
  ClaimVerdict verdict;

  explicit Reported(double deep) {
    options.seeds = {7, 8};
    options.control_seeds = {7};
    claim.hash = 0xabc;
    claim.title = "deep \"wins\" | always";
    for (int seed = 0; seed < 2; ++seed) {
      values.Set("planted", seed, {"auc", "deep"}, deep + 0.02 * seed);
      values.Set("planted", seed, {"auc", "flat"}, 0.6);
      values.Set("planted", seed, {"auc", "oracle"}, 0.8);
    }
    values.Set("null", 0, {"auc", "deep"}, 0.61);
    values.Set("null", 0, {"auc", "flat"}, 0.6);
    verdict = JudgeClaim(claim, values);
  }
  ClaimReport report(bool pilot) const { return {&claim, &options, &values, &verdict, pilot}; }
};

bool Has(const std::string& text, const std::string& part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a report has the table that a reader looks for") {
  const Reported good(0.7);
  const std::string text = ReportAsText(good.report(false));
  Has(text, "check                   arm          metric  mean");
  Has(text, "deep_wins [planted]     deep - flat  auc     0.1100 (0.55 of the gap)  0.0141");
  Has(text, ">= 0.01, 2/2 seeds > 0, closes >= 0.2");
  Has(text, "0.0100 in null, |.| <= 0.02");
  Has(text, "planted  oracle  auc     0.8000  0.0000  0.8000 0.8000");
  Has(text, "hash 0000000000000abc, seeds 7 8, of controls 7\n");
  Has(text, ": PASS\n");
  CHECK(text.find("NOT MET") == std::string::npos);
}

TEST_CASE("a report says what does not hold") {
  const Reported bad(0.5);
  const std::string text = ReportAsText(bad.report(false));
  Has(text, "NOT MET");
  Has(text, "deep_wins: the mean -0.09 is below the margin 0.01\n");
  Has(text, "deep_is_good: the mean, 0.51, is below 0.6\n");
  Has(text, ": FAIL\n");
}

TEST_CASE("a pilot gives no verdict") {
  const Reported bad(0.5);
  for (const std::string& text :
       {ReportAsText(bad.report(true)), ReportAsMarkdown(bad.report(true)),
        ReportAsJson(bad.report(true))}) {
    INFO(text);
    CHECK(text.find("FAIL") == std::string::npos);
    CHECK(text.find("NOT MET") == std::string::npos);
    CHECK(text.find("\"met\"") == std::string::npos);
  }
}

TEST_CASE("Markdown and JSON hold the same, escaped") {
  Reported good(0.7);
  good.values.Set("planted", 0, {"gauc", "deep"}, std::nan(""));
  const std::string markdown = ReportAsMarkdown(good.report(false));
  Has(markdown, ": PASS\n\ndeep \"wins\" | always (a paper, section 1)");
  Has(markdown, "| check | arm | metric | mean | spread | margin | verdict | null control |");
  Has(markdown, "0.0100 in null, \\|.\\| <= 0.02 |");
  const std::string json = ReportAsJson(good.report(false));
  Has(json, "\"verdict\": \"PASS\"");
  Has(json, "\"seeds\": [7, 8]");
  Has(json, "\"null_mean\": 0.01");
  Has(json, "\"arm\": \"deep\", \"metric\": \"gauc\", \"values\": [null]");
}
