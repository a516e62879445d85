#include "deploy/config_explain.h"

#include <catch2/catch.hpp>

#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "algorithms/nn/model.h"
#include "deploy/job_sections.h"

using namespace pagoda;

TEST_CASE("explain prints every key of every section and model") {
  const absl::StatusOr<std::string> text = ExplainConfig("");
  REQUIRE(text.ok());
  const std::string markdown = ExplainConfigMarkdown();
  int keys = 0;
  for (const JobKeys& section : DescribeJob(nullptr)) {
    INFO(section.section());
    CHECK(text->find(absl::StrCat("[", section.section(), "]")) != std::string::npos);
    CHECK(markdown.find(absl::StrCat("## [", section.section(), "]")) != std::string::npos);
    for (const JobKey& key : section.keys()) {
      INFO(key.spec().key);
      CHECK(text->find(absl::StrCat("  ", key.spec().key, " = ")) != std::string::npos);
      CHECK(markdown.find(absl::StrCat("| `", key.spec().key, "` |")) != std::string::npos);
      CHECK(key.spec().help.size() > 5);
      ++keys;
    }
  }
  CHECK(keys > 80);
  for (const ModelInfo& model : AllModels()) {
    INFO(model.name);
    CHECK(text->find(absl::StrCat("name = \"", model.name, "\": ", model.summary)) !=
          std::string::npos);
    for (const OptionSpec& option : model.options) {
      INFO(option.key);
      CHECK(text->find(absl::StrCat("  ", option.key, " = ")) != std::string::npos);
      CHECK(markdown.find(absl::StrCat("| `", option.key, "` |")) != std::string::npos);
    }
  }
}

TEST_CASE("explain of one model leaves the others out") {
  const absl::StatusOr<std::string> text = ExplainConfig("dnn");
  REQUIRE(text.ok());
  CHECK(text->find("name = \"dnn\": ") != std::string::npos);
  CHECK(text->find("name = \"deepfm\": ") == std::string::npos);
  CHECK(absl::IsNotFound(ExplainConfig("dnnn").status()));
}

TEST_CASE("explain shows type, unit, default and limits") {
  const std::string text = *ExplainConfig("");
  CHECK(text.find("  batch_size = 4096    (integer, samples, 1 to 16777216)\n") !=
        std::string::npos);
  CHECK(text.find("  skip_lines = 0    (integer, lines, at least 0)\n") != std::string::npos);
  CHECK(text.find("  mode = \"sync\"    (text, sync | async)\n") != std::string::npos);
  CHECK(text.find("  label_threshold = not set    (number)\n") != std::string::npos);
  CHECK(text.find("  name = required    (text)\n") != std::string::npos);
}

TEST_CASE("docs/job_file.md is current") {
  std::ifstream file(PAGODA_SOURCE_DIR "/docs/job_file.md");
  REQUIRE(file.is_open());
  std::stringstream text;
  text << file.rdbuf();
  INFO("refresh it: build/release/deploy/pagoda config explain --markdown > docs/job_file.md");
  CHECK(text.str() == ExplainConfigMarkdown());
}
