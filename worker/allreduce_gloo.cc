#include "worker/allreduce_gloo.h"

#include <dirent.h>
#include <gloo/allgatherv.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/store.h>
#include <gloo/transport/tcp/address.h>
#include <gloo/transport/tcp/device.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/host_port.h"
#include "base/status_macros.h"
#include "worker/worker_meeting.h"

namespace pagoda {
namespace {

// How often a call under way asks whether the job still lives.
constexpr std::chrono::milliseconds kHealthInterval(100);
// Gloo's slot of the receive that never comes, see AbortCall. Collectives use
// slots below 2^40 (an 8-bit prefix and a 32-bit tag).
constexpr uint64_t kAbortSlot = uint64_t{1} << 60;

std::string WorkerName(int rank) {
  return absl::StrCat("worker ", rank, " (rank ", rank, ")");
}

int PortOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  }
  return 0;
}

// Gloo's store, on the rendezvous board. It also notes who listens where: worker r
// publishes one address for each of its peers under the key "r".
class BoardStore final : public gloo::rendezvous::Store {
 public:
  BoardStore(const GlooOptions& options, std::string prefix, ParameterClient* client)
      : options_(options), prefix_(std::move(prefix)), client_(client) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    Note(key, data);
    Raise(client_->SetKey(prefix_ + key, std::string(data.begin(), data.end())));
  }
  std::vector<char> get(const std::string& key) override {
    auto value = client_->GetKey(prefix_ + key, options_.connect_timeout);
    if (!value.ok()) Raise(value.status());
    std::vector<char> data(value->begin(), value->end());
    Note(key, data);
    return data;
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) (void)get(key);
  }
  void wait(const std::vector<std::string>& keys, const std::chrono::milliseconds&) override {
    wait(keys);
  }

  // Of the exception that went through Gloo, if it was ours.
  const absl::Status& failure() const { return failure_; }
  // The peer's rank by port: ours when the peer connects to us, else the peer's.
  const std::map<int, int>& peer_by_port() const { return peer_by_port_; }
  // The peer's rank by where it listens, in Gloo's own spelling.
  const std::map<std::string, int>& peer_by_endpoint() const { return peer_by_endpoint_; }

 private:
  void Raise(const absl::Status& status) {
    if (status.ok()) return;
    failure_ = status;
    throw gloo::IoException(std::string(status.message()));
  }

  void Note(const std::string& key, const std::vector<char>& data) {
    int owner = 0;
    const size_t peers = static_cast<size_t>(options_.num_workers - 1);
    if (!absl::SimpleAtoi(key, &owner) || owner < 0 || owner >= options_.num_workers ||
        data.size() % peers != 0 || data.size() / peers < sizeof(sockaddr_storage)) {
      return;
    }
    for (size_t i = 0; i < peers; ++i) {
      const int other = static_cast<int>(i) + (static_cast<int>(i) >= owner ? 1 : 0);
      sockaddr_storage address;
      std::memcpy(&address, data.data() + i * (data.size() / peers), sizeof(address));
      const int peer = owner == options_.rank ? other : owner;
      if (owner == options_.rank || other == options_.rank) peer_by_port_[PortOf(address)] = peer;
      if (other == options_.rank) {
        peer_by_endpoint_[gloo::transport::tcp::Address(address).str()] = peer;
      }
    }
  }

  const GlooOptions& options_;
  const std::string prefix_;
  ParameterClient* const client_;
  absl::Status failure_;
  std::map<int, int> peer_by_port_;
  std::map<std::string, int> peer_by_endpoint_;
};

// Calls visit(fd, local, remote) for every connected TCP socket of this process.
template <typename Visit>
void ForEachConnection(Visit visit) {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return;
  while (const dirent* entry = readdir(directory)) {
    int fd = 0;
    if (!absl::SimpleAtoi(entry->d_name, &fd)) continue;
    sockaddr_storage local{}, remote{};
    socklen_t local_size = sizeof(local), remote_size = sizeof(remote);
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&local), &local_size) == 0 &&
        getpeername(fd, reinterpret_cast<sockaddr*>(&remote), &remote_size) == 0 &&
        (local.ss_family == AF_INET || local.ss_family == AF_INET6)) {
      visit(fd, local, remote);
    }
  }
  closedir(directory);
}

// Gloo sets neither: without them a peer whose host is cut off is waited for until
// the call's deadline.
void WatchConnection(int fd, absl::Duration timeout) {
  const unsigned limit_ms = static_cast<unsigned>(absl::ToInt64Milliseconds(timeout));
  const int on = 1;
  const int probes = 3;
  const int seconds = std::max(1, static_cast<int>(absl::ToInt64Seconds(timeout)) / (probes + 1));
  setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof(limit_ms));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof(seconds));
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

class GlooAllReduce final : public AllReduce {
 public:
  GlooAllReduce(const GlooOptions& options, ParameterClient* client)
      : options_(options), client_(client), watcher_([this] { Watch(); }) {}

  ~GlooAllReduce() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    watcher_.join();
  }

  int rank() const override { return options_.rank; }
  int num_workers() const override { return options_.num_workers; }

  absl::Status Sum(std::span<float> values) override { return SumOf(values); }
  absl::Status Sum(std::span<double> values) override { return SumOf(values); }

  absl::StatusOr<std::vector<double>> Gather(std::span<const double> values) override {
    std::vector<double> counts(static_cast<size_t>(options_.num_workers));
    counts[static_cast<size_t>(options_.rank)] = static_cast<double>(values.size());
    PAGODA_RETURN_IF_ERROR(Sum(std::span<double>(counts)));
    std::vector<size_t> sizes(counts.begin(), counts.end());
    size_t total = 0;
    for (const size_t size : sizes) total += size;
    std::vector<double> gathered(total);
    if (total == 0) return gathered;
    std::vector<double> mine(values.begin(), values.end());
    PAGODA_RETURN_IF_ERROR(Call("gather", [&] {
      gloo::AllgathervOptions options(context_);
      options.setInput(mine.data(), mine.size());
      options.setOutput(gathered.data(), sizes);
      options.setTimeout(CallDeadline());
      gloo::allgatherv(options);
    }));
    return gathered;
  }

  absl::Status Barrier() override {
    return Call("barrier", [&] {
      gloo::BarrierOptions options(context_);
      options.setTimeout(CallDeadline());
      gloo::barrier(options);
    });
  }

  absl::Status Health() const override {
    PAGODA_RETURN_IF_ERROR(failure_);
    return client_->Health();
  }

 private:
  std::chrono::milliseconds CallDeadline() const {
    return absl::ToChronoMilliseconds(options_.call_deadline);
  }

  template <typename T>
  absl::Status SumOf(std::span<T> values) {
    if (values.empty()) return absl::OkStatus();
    return Call("sum", [&] {
      gloo::AllreduceOptions options(context_);
      options.setOutput(values.data(), values.size());
      options.setReduceFunction(
          [](void* sum, const void* a, const void* b, size_t n) { gloo::sum<T>(sum, a, b, n); });
      options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
      options.setTimeout(CallDeadline());
      gloo::allreduce(options);
    });
  }

  // Runs one collective, connecting first when it is the first one. No exception
  // of Gloo's leaves it.
  template <typename Body>
  absl::Status Call(const char* what, Body body) {
    PAGODA_RETURN_IF_ERROR(failure_);
    if (context_ == nullptr) {
      failure_ = Connect();
      PAGODA_RETURN_IF_ERROR(failure_);
    }
    SetCalling(true);
    const auto start = std::chrono::steady_clock::now();
    try {
      body();
    } catch (const std::exception& error) {
      const bool late = std::chrono::steady_clock::now() - start >= CallDeadline();
      failure_ = Explain(what, error.what(), late);
    }
    SetCalling(false);
    return failure_;
  }

  absl::Status Connect() {
    PAGODA_ASSIGN_OR_RETURN(const std::string host, ChooseGlooHost(options_));
    PAGODA_ASSIGN_OR_RETURN(
        const std::string prefix,
        MeetWorkers({options_.job, options_.rank, options_.num_workers, options_.connect_timeout},
                    client_));
    BoardStore store(options_, prefix, client_);
    std::shared_ptr<gloo::rendezvous::Context> context;
    try {
      gloo::transport::tcp::attr attributes;
      if (if_nametoindex(host.c_str()) != 0) {
        attributes.iface = host;
      } else {
        attributes.hostname = host;
      }
      std::shared_ptr<gloo::transport::Device> device =
          gloo::transport::tcp::CreateDevice(attributes);
      context = std::make_shared<gloo::rendezvous::Context>(options_.rank, options_.num_workers);
      context->setTimeout(absl::ToChronoMilliseconds(options_.connect_timeout));
      context->connectFullMesh(store, device);
    } catch (const std::exception& error) {
      PAGODA_RETURN_IF_ERROR(store.failure());
      PAGODA_RETURN_IF_ERROR(client_->Health());
      return absl::UnavailableError(
          absl::StrCat(WorkerName(options_.rank), " at ", host,
                       " cannot connect to the other workers: ", error.what()));
    }
    // Gloo's errors name either end of a connection: where the peer listens, or
    // where its connection to us comes from.
    peer_by_endpoint_ = store.peer_by_endpoint();
    ForEachConnection([&](int fd, const sockaddr_storage& local, const sockaddr_storage& remote) {
      auto peer = store.peer_by_port().find(PortOf(local));
      if (peer == store.peer_by_port().end()) peer = store.peer_by_port().find(PortOf(remote));
      if (peer == store.peer_by_port().end()) return;
      WatchConnection(fd, options_.peer_timeout);
      peer_by_endpoint_[gloo::transport::tcp::Address(remote).str()] = peer->second;
    });
    std::lock_guard<std::mutex> lock(mutex_);
    context_ = std::move(context);
    return absl::OkStatus();
  }

  absl::Status Explain(const char* what, const std::string& error, bool late) const {
    // The servers may know why; they hear of a death no sooner than we do.
    PAGODA_RETURN_IF_ERROR(client_->Health());
    if (late) {
      return absl::DeadlineExceededError(
          absl::StrCat(what, " over ", options_.num_workers, " workers has not ended within ",
                       absl::FormatDuration(options_.call_deadline)));
    }
    std::string who = "the connection to another worker";
    for (const auto& [endpoint, peer] : peer_by_endpoint_) {
      if (absl::StrContains(error, endpoint))
        who = absl::StrCat("the connection to ", WorkerName(peer));
    }
    return absl::UnavailableError(absl::StrCat(who, " broke in a ", what, ": ", error));
  }

  void SetCalling(bool calling) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      calling_ = calling;
    }
    wake_.notify_all();
  }

  // Ends the call under way on another thread. Gloo has no such call, but when one
  // wait times out it breaks all of the context's connections, and with them every
  // other wait.
  static void AbortCall(gloo::Context& context) {
    try {
      char byte = 0;
      auto buffer = context.createUnboundBuffer(&byte, 1);
      buffer->recv(context.rank == 0 ? 1 : 0, kAbortSlot);
      buffer->waitRecv(std::chrono::milliseconds(1));
    } catch (const std::exception&) {  // As meant.
    }
  }

  void Watch() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (!stop_) {
      wake_.wait(lock, [&] { return stop_ || calling_; });
      while (calling_ && !stop_) {
        wake_.wait_for(lock, kHealthInterval, [&] { return stop_ || !calling_; });
        if (!calling_ || client_->Health().ok()) continue;
        AbortCall(*context_);
        wake_.wait(lock, [&] { return stop_ || !calling_; });
      }
    }
  }

  const GlooOptions options_;
  ParameterClient* const client_;
  absl::Status failure_;
  std::map<std::string, int> peer_by_endpoint_;  // "[127.0.0.1]:34567" -> rank

  std::mutex mutex_;
  std::condition_variable wake_;
  std::shared_ptr<gloo::Context> context_;  // Set once; the watcher uses it while calling_.
  bool calling_ = false;
  bool stop_ = false;
  std::thread watcher_;
};

// The address of this machine from which packets go to `server`. Nothing is sent.
absl::StatusOr<std::string> LocalAddressTowards(const HostPort& server) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int failed =
      getaddrinfo(server.host.c_str(), absl::StrCat(server.port).c_str(), &hints, &found);
  if (failed != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot resolve server ", server.host, ": ", gai_strerror(failed)));
  }
  char text[NI_MAXHOST] = "";
  for (const addrinfo* each = found; each != nullptr && text[0] == '\0'; each = each->ai_next) {
    const int fd = socket(each->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) continue;
    sockaddr_storage local{};
    socklen_t size = sizeof(local);
    if (connect(fd, each->ai_addr, each->ai_addrlen) == 0 &&
        getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) == 0) {
      getnameinfo(reinterpret_cast<sockaddr*>(&local), size, text, sizeof(text), nullptr, 0,
                  NI_NUMERICHOST);
    }
    close(fd);
  }
  freeaddrinfo(found);
  if (text[0] == '\0') {
    return absl::UnavailableError(absl::StrCat("there is no route to server ", server.host));
  }
  return std::string(text);
}

}  // namespace

absl::StatusOr<std::string> ChooseGlooHost(const GlooOptions& options) {
  if (!options.host.empty()) return options.host;
  if (options.servers.empty()) {
    return absl::InvalidArgumentError(
        "without a parameter server's address, the worker's own must be given");
  }
  bool loopback = true;
  for (const std::string& server : options.servers) {
    PAGODA_ASSIGN_OR_RETURN(const HostPort address, ParseHostPort(server));
    loopback = loopback && IsLoopbackHost(address.host);
  }
  if (loopback) return std::string("127.0.0.1");
  return LocalAddressTowards(*ParseHostPort(options.servers[0]));
}

std::unique_ptr<AllReduce> MakeGlooAllReduce(const GlooOptions& options, ParameterClient* client) {
  if (options.num_workers == 1) return SingleWorker();
  // Gloo writes to its sockets as if they were files: to one whose peer has died, that would
  // end this process before it could name the peer.
  std::signal(SIGPIPE, SIG_IGN);
  return std::make_unique<GlooAllReduce>(options, client);
}

}  // namespace pagoda
