// Ctrl-C (SIGINT) and SIGTERM: the first asks for an orderly end, the second ends
// the process at once with exit code 130.
//
// Threads: Install once, from main's thread; Requested from any.
#pragma once

namespace pagoda {

inline constexpr int kExitInterrupted = 130;  // 128 + SIGINT, as shells have it.

class StopSignal {
 public:
  // Installs both handlers. On the first signal `notice` is written to stderr and,
  // if set, the callback is called: inside the handler, so it must be
  // async-signal-safe. Forgets signals and settings of before.
  static void Install(const char* notice);
  // Sets (or with nullptr takes away) what the first signal calls with `context`.
  // When a signal has come already, calls at once.
  static void SetCallback(void (*callback)(void* context), void* context);
  static bool Requested();
  // Signals received so far: 2 or more where the caller, not the handler, quits.
  static int Count();
  // For a process that must clean up after others: the second signal no longer
  // ends the process; the caller looks at Count().
  static void KeepRunningOnSecond();
};

}  // namespace pagoda
