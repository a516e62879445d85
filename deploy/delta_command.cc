// `pagoda checkpoint delta`: what changed between two cuts.

#include <cstdio>

#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "deploy/commands.h"
#include "deploy/stored_rows.h"
#include "embedding_store/delta_export.h"

namespace pagoda {

absl::StatusOr<int> RunCheckpointDelta(const CheckpointDeltaArguments& arguments) {
  DeltaExport options;
  PAGODA_ASSIGN_OR_RETURN(options.since, StoreDirectories(arguments.since));
  PAGODA_ASSIGN_OR_RETURN(options.cut, StoreDirectories(arguments.cut));
  options.directory = arguments.output;
  options.file_bytes_max = arguments.file_mb << 20;
  PAGODA_ASSIGN_OR_RETURN(const DeltaOutcome made, ExportDelta(options));
  int64_t bytes = 0;
  for (const DeltaManifest::File& file : made.manifest.files) bytes += file.bytes;
  absl::PrintF("%d rows stored, %d deleted, in %d files of %d bytes in all", made.manifest.stored,
               made.manifest.deleted, made.manifest.files.size(), bytes);
  if (made.files_found > 0) absl::PrintF("; %d files were there already", made.files_found);
  absl::PrintF("\n");
  return 0;
}

}  // namespace pagoda
