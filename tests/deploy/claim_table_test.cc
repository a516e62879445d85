#include "deploy/claim_table.h"

#include <catch2/catch.hpp>

#include "tests/deploy/scratch_directory.h"

using namespace pagoda;

TEST_CASE("columns of a CSV file are read by name") {
  ScratchDirectory scratch;
  const std::string path =
      scratch.Write("t.csv", "user,q,\"odd,name\",history\nu1,0.25,\"a,b\",1|2\nu2,1e-3,,\n");
  const absl::StatusOr<ClaimTable> table =
      ClaimTable::Read(path, {"q", "odd,name", "user", "absent", "q"});
  REQUIRE(table.ok());
  CHECK(table->rows() == 2);
  CHECK(table->Numbers("q").value() == std::vector<double>{0.25, 0.001});
  CHECK(*table->Texts("odd,name").value() == std::vector<std::string>{"a,b", ""});
  CHECK(*table->Texts("user").value() == std::vector<std::string>{"u1", "u2"});
  CHECK_FALSE(table->Has("absent"));
  CHECK_FALSE(table->Has("history"));  // Not asked for.
}

TEST_CASE("what is wrong with a CSV file is said with its place") {
  ScratchDirectory scratch;
  const std::string path = scratch.Write("t.csv", "user,clicks\nu1,1\nu2,x\n");
  const absl::StatusOr<ClaimTable> table = ClaimTable::Read(path, {"clicks", "user"});
  REQUIRE(table.ok());
  CHECK(table->Numbers("clicks").status().message() ==
        path + ", row 2, column \"clicks\": 'x' is not a number");
  CHECK(table->Texts("click").status().message() ==
        path + " has no column \"click\"; did you mean \"clicks\"?");
  const absl::Status torn =
      ClaimTable::Read(scratch.Write("torn.csv", "a,b\n1,2\n3\n"), {"a"}).status();
  CHECK(std::string(torn.message()).find("torn.csv:3: ") != std::string::npos);
  CHECK_FALSE(ClaimTable::Read(scratch.File("none.csv"), {"a"}).ok());
}

TEST_CASE("a training's log gives the curve of each number") {
  ScratchDirectory scratch;
  const std::string log = scratch.Write(
      "train.log",
      "step 10  loss 0.5  grad 1  samples/s 3  done 1.0%  eta 0:01  AUC 0.9\n"
      "evaluation at step 10: AUC 0.700000000  log-loss 0.5  normalised entropy 0.9  samples 7\n"
      "evaluation at step 20: AUC 0.650000000  log-loss 0.4  normalised entropy 0.8  samples 7\n"
      "best evaluation, at step 10: AUC 0.700000000  log-loss 0.5\n");
  const auto values = [&](const std::string& name) {
    std::string found;
    const std::vector<CurvePoint> curve = ReadTrainingCurve(log, name).value();
    for (const CurvePoint& point : curve) {
      found += absl::StrCat(point.step, ":", point.value, " ");
    }
    return found;
  };
  CHECK(values("AUC") == "10:0.7 20:0.65 ");
  CHECK(values("normalised entropy") == "10:0.9 20:0.8 ");
  CHECK(values("GAUC").empty());
  CHECK(values("normalised").empty());
  CHECK_FALSE(ReadTrainingCurve(scratch.File("none"), "AUC").ok());
}
