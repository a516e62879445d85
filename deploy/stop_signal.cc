#include "deploy/stop_signal.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

namespace pagoda {
namespace {

std::atomic<int> g_count{0};
std::atomic<bool> g_quit_on_second{true};
std::atomic<const char*> g_notice{nullptr};
std::atomic<void (*)(void*)> g_callback{nullptr};
std::atomic<void*> g_context{nullptr};

void Handle(int /*signal*/) {
  const int earlier = g_count.fetch_add(1);
  if (earlier > 0) {
    if (g_quit_on_second) _exit(kExitInterrupted);
    return;
  }
  if (const char* notice = g_notice; notice != nullptr) {
    const ssize_t written = write(STDERR_FILENO, notice, strlen(notice));
    (void)written;  // Nothing to be done about it inside a handler.
  }
  if (auto* callback = g_callback.load(); callback != nullptr) callback(g_context);
}

}  // namespace

void StopSignal::Install(const char* notice) {
  g_count = 0;
  g_quit_on_second = true;
  g_callback = nullptr;
  g_notice = notice;
  struct sigaction action = {};
  action.sa_handler = Handle;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
}

void StopSignal::SetCallback(void (*callback)(void* context), void* context) {
  g_context = context;
  g_callback = callback;
  if (callback != nullptr && Requested()) callback(context);
}

bool StopSignal::Requested() {
  return g_count > 0;
}

int StopSignal::Count() {
  return g_count;
}

void StopSignal::KeepRunningOnSecond() {
  g_quit_on_second = false;
}

}  // namespace pagoda
