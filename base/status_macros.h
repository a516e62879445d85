// Passing absl::Status up the stack, and the line between user errors (a
// Status, always) and programmer errors (PAGODA_CHECK, which ends the process in
// release builds too).
//
//   PAGODA_RETURN_IF_ERROR(store.Pull(ids, rows));
//   PAGODA_ASSIGN_OR_RETURN(auto file, OpenFile(path));
//   PAGODA_RETURN_IF_ERROR_CONTEXT(ParseRow(line), absl::StrCat(path, ":", n));
#pragma once

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace pagoda {

// Returns `status` with "context: " put before its message; OK stays OK.
inline absl::Status WithContext(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(context, ": ", status.message()));
}

}  // namespace pagoda

#define PAGODA_STATUS_JOIN_INNER(a, b) a##b
#define PAGODA_STATUS_JOIN(a, b) PAGODA_STATUS_JOIN_INNER(a, b)

#define PAGODA_RETURN_IF_ERROR(expr)                                  \
  do {                                                                \
    if (absl::Status pagoda_status_ = (expr); !pagoda_status_.ok()) { \
      return pagoda_status_;                                          \
    }                                                                 \
  } while (false)

#define PAGODA_RETURN_IF_ERROR_CONTEXT(expr, context)                 \
  do {                                                                \
    if (absl::Status pagoda_status_ = (expr); !pagoda_status_.ok()) { \
      return ::pagoda::WithContext(pagoda_status_, (context));        \
    }                                                                 \
  } while (false)

#define PAGODA_ASSIGN_OR_RETURN_INNER(tmp, lhs, expr) \
  auto tmp = (expr);                                  \
  if (!tmp.ok()) return std::move(tmp).status();      \
  lhs = std::move(tmp).value()

#define PAGODA_ASSIGN_OR_RETURN(lhs, expr) \
  PAGODA_ASSIGN_OR_RETURN_INNER(PAGODA_STATUS_JOIN(pagoda_statusor_, __LINE__), lhs, expr)

// A bug in Pagoda, never bad input: prints where and ends the process.
#define PAGODA_CHECK(condition)                                                          \
  do {                                                                                   \
    if (!(condition)) {                                                                  \
      std::fprintf(stderr, "pagoda: bug: %s:%d: check failed: %s\n", __FILE__, __LINE__, \
                   #condition);                                                          \
      std::abort();                                                                      \
    }                                                                                    \
  } while (false)
