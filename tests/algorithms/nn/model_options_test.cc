#include "algorithms/nn/model_options.h"

#include <catch2/catch.hpp>

namespace pagoda {
namespace {

ModelOptions Options() {
  return ModelOptions({{"hidden", std::vector<int64_t>{8, 4}, "units", ""},
                       {"dropout", 0.5, "", ""},
                       {"layers", int64_t{3}, "", ""},
                       {"activation", std::string("relu"), "", ""},
                       {"batch_norm", false, "", ""},
                       {"names", std::vector<std::string>{}, "", ""},
                       {"rates", std::vector<double>{1.0}, "", ""}});
}

TEST_CASE("options read as their defaults until they are set") {
  ModelOptions options = Options();
  REQUIRE(options.Get<std::vector<int64_t>>("hidden") == std::vector<int64_t>{8, 4});
  REQUIRE(options.Get<double>("dropout") == 0.5);
  REQUIRE(options.Get<bool>("batch_norm") == false);
  REQUIRE(options.Set("dropout", 0.25).ok());
  REQUIRE(options.Set("activation", std::string("tanh")).ok());
  REQUIRE(options.Set("names", std::vector<std::string>{"x"}).ok());
  REQUIRE(options.Get<double>("dropout") == 0.25);
  REQUIRE(options.Get<std::string>("activation") == "tanh");
  REQUIRE(options.Get<std::vector<std::string>>("names").size() == 1);
}

TEST_CASE("integers stand for numbers, and an empty list for any list, and nothing else converts") {
  ModelOptions options = Options();
  REQUIRE(options.Set("dropout", int64_t{0}).ok());
  REQUIRE(options.Get<double>("dropout") == 0.0);
  REQUIRE(options.Set("rates", std::vector<int64_t>{2, 3}).ok());
  REQUIRE(options.Get<std::vector<double>>("rates") == std::vector<double>{2.0, 3.0});
  REQUIRE(options.Set("hidden", std::vector<std::string>{}).ok());
  REQUIRE(options.Get<std::vector<int64_t>>("hidden").empty());
  REQUIRE(options.Set("names", std::vector<int64_t>{}).ok());

  const absl::Status status = options.Set("layers", 2.5);
  REQUIRE(status.code() == absl::StatusCode::kInvalidArgument);
  REQUIRE(status.message() == "'layers' must be an integer, not a number");
  for (const OptionValue& value :
       {OptionValue(true), OptionValue(std::string("3")), OptionValue(std::vector<int64_t>{})}) {
    REQUIRE(options.Set("layers", value).code() == absl::StatusCode::kInvalidArgument);
  }
  REQUIRE(options.Set("hidden", std::vector<double>{1.5}).code() ==
          absl::StatusCode::kInvalidArgument);
  REQUIRE(options.Set("hidden", int64_t{8}).message() ==
          "'hidden' must be a list of integers, not an integer");
  REQUIRE(options.Get<int64_t>("layers") == 3);  // A refusal changes nothing.
}

TEST_CASE("an unknown key is NOT_FOUND and names the nearest") {
  ModelOptions options = Options();
  const absl::Status status = options.Set("hiden", std::vector<int64_t>{1});
  REQUIRE(status.code() == absl::StatusCode::kNotFound);
  REQUIRE(status.message() == "unknown key 'hiden'; did you mean 'hidden'?");
  REQUIRE(options.Set("zzz", int64_t{1}).message() == "unknown key 'zzz'");
}

TEST_CASE("NearestName measures edits, within a third of the length") {
  const std::vector<std::string> names = {"deepfm", "dlrm", "dcn", "dcnv2", "wide_deep"};
  REQUIRE(NearestName("deepfm", names) == "deepfm");
  REQUIRE(NearestName("depfm", names) == "deepfm");
  REQUIRE(NearestName("deepmf", names) == "deepfm");  // A swap is one edit.
  REQUIRE(NearestName("dlmr", names) == "dlrm");
  REQUIRE(NearestName("dcnv", names) == "dcn");  // Distance 1 of 4, before dcnv2: 1 of 5.
  REQUIRE(NearestName("wide-deep", names) == "wide_deep");
  REQUIRE(NearestName("transformer", names).empty());
  REQUIRE(NearestName("xy", names).empty());
  REQUIRE(NearestName("", names).empty());
  REQUIRE(NearestName("dcn", {}).empty());
  // First of equals: both are one replacement away.
  REQUIRE(NearestName("abcd", {"abce", "abcf"}) == "abce");
}

}  // namespace
}  // namespace pagoda
