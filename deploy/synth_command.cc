// `pagoda synth`: writes a generated world.

#include <unistd.h>

#include <chrono>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/world_files.h"

namespace pagoda {

std::string SynthHelp() {
  std::string text = "Worlds, and their knobs with defaults (docs/worlds.md has the rules):\n";
  for (const WorldKind& kind : AllWorlds()) {
    absl::StrAppendFormat(&text, "\n  %s: %s\n    variant=", kind.name, kind.summary);
    for (const Variant& variant : kind.variants) {
      absl::StrAppend(&text, &variant == &kind.variants.front() ? "" : " | ", variant.name);
    }
    absl::StrAppend(&text, "\n");
    for (const Knob& knob : kind.knobs) {
      const std::string setting = absl::StrCat(knob.name, "=", knob.value);
      absl::StrAppendFormat(&text, "    %-22s %s\n", setting, knob.meaning);
    }
  }
  return text;
}

absl::StatusOr<int> RunSynth(const SynthArguments& arguments) {
  WorldRun run;
  PAGODA_ASSIGN_OR_RETURN(run.kind, FindWorld(arguments.world));
  PAGODA_ASSIGN_OR_RETURN(run.knobs,
                          MakeKnobs(*run.kind, arguments.seed, arguments.knobs, arguments.rows));
  run.directory = arguments.output;
  const bool terminal = isatty(STDERR_FILENO) != 0;
  if (terminal) {
    run.progress = [](int64_t done, int64_t all) {
      std::fprintf(stderr, "\r%3d %%", static_cast<int>(100 * done / all));
      if (done == all) std::fprintf(stderr, "\r     \r");
    };
  }
  const auto start = std::chrono::steady_clock::now();
  const absl::StatusOr<WrittenWorld> written = WriteWorld(run);
  if (!written.ok()) return written.status();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  int64_t rows = 0;
  for (const WrittenFile& file : written->files) {
    absl::PrintF("%s/%s: %d rows, %d bytes\n", arguments.output, file.name, file.rows, file.bytes);
    rows += file.rows;
  }
  absl::PrintF("%s/world.json: knobs and figures\n", arguments.output);
  absl::PrintF("%d rows in %.1f s (%.0f a second)\n", rows, seconds.count(),
               static_cast<double>(rows) / std::max(1e-9, seconds.count()));
  return 0;
}

}  // namespace pagoda
