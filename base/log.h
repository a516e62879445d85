// Logging: the one door to spdlog. Lines go to stderr as
//   2026-01-31 12:00:00.123 I worker-0 message
// Threads: any function, any thread.
#pragma once

#include <spdlog/spdlog.h>

#include <string>

#include "absl/status/status.h"

namespace pagoda {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Sets the level and the name of this process ("worker-0") shown on each line.
// Call once at the start of main; before that, lines go out at kInfo, unnamed.
void InitLogging(const std::string& process_name, LogLevel level);

}  // namespace pagoda

// PAGODA_LOG_INFO("opened {} in {} ms", path, millis): fmt syntax, checked at compile time.
#define PAGODA_LOG_DEBUG(...) ::spdlog::debug(__VA_ARGS__)
#define PAGODA_LOG_INFO(...) ::spdlog::info(__VA_ARGS__)
#define PAGODA_LOG_WARNING(...) ::spdlog::warn(__VA_ARGS__)
#define PAGODA_LOG_ERROR(...) ::spdlog::error(__VA_ARGS__)
