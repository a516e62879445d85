#include "kernels/gpu_emulation/scheduler.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <vector>

#include "kernels/gpu_emulation/fiber.h"
#include "kernels/gpu_emulation/race_checker.h"
#include "kernels/gpu_emulation/shared_memory.h"

namespace gpu::emulation {

__thread CudaThread* current = nullptr;

namespace {

Settings FromEnvironment() {
  Settings settings;
  const char* const text = std::getenv("PAGODA_GPU_EMULATION");
  std::istringstream words(text != nullptr ? text : "");
  for (std::string word; std::getline(words, word, ',');) {
    if (word == "reverse") settings.schedule = Schedule::kReverse;
    if (word == "lazy") settings.lazy_streams = true;
    if (word.rfind("random", 0) == 0) {
      settings.schedule = Schedule::kRandom;
      if (word.size() > 7) settings.seed = std::strtoull(word.c_str() + 7, nullptr, 10);
    }
  }
  return settings;
}

}  // namespace

Settings& settings() {
  static Settings shared = FromEnvironment();
  return shared;
}
Counts& counts() {
  thread_local Counts mine;
  return mine;
}

namespace {

using State = CudaThread::State;

// What a shuffle gives that reads a lane which takes no part: NaN as a float.
constexpr uint64_t kNobody = ~uint64_t{0};

// Indices of runnable threads, each at most once.
class ReadyQueue {
 public:
  void Reset(unsigned threads) {
    ring_.assign(std::bit_ceil(threads), 0);
    head_ = count_ = 0;
  }
  void Push(unsigned index) { ring_[(head_ + count_++) & (ring_.size() - 1)] = index; }
  bool empty() const { return count_ == 0; }
  unsigned Pop() {
    const unsigned index = ring_[head_ & (ring_.size() - 1)];
    ++head_;
    --count_;
    return index;
  }
  // The `nth` comes first.
  void Prefer(size_t nth) {
    std::swap(ring_[head_ & (ring_.size() - 1)], ring_[(head_ + nth) & (ring_.size() - 1)]);
  }
  size_t size() const { return count_; }

 private:
  std::vector<unsigned> ring_;
  size_t head_ = 0, count_ = 0;
};

class Grid {
 public:
  std::string Run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);

  // From CUDA threads.
  int Barrier(int predicate, Place place);
  uint64_t Warp(const WarpCall& call, uint64_t in, Place place);
  void Yield();
  void* Static(const void* key, size_t bytes, size_t alignment);
  void* Dynamic(size_t alignment);

 private:
  static void FiberMain();

  void RunBlock(uint64_t number, dim3 grid, dim3 block);
  void NoteDeadlock(uint64_t block);
  // Ends the grid with the text that `what` makes: as the host, for ThreadSanitizer's sake.
  template <typename What>
  [[noreturn]] void Fail(const What& what);

  uint64_t Random() {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return random_;
  }
  // The next thread to run, or null.
  CudaThread* Next();
  void Become(CudaThread* thread);
  void Resume(CudaThread* thread);
  void ToHost();
  void Block();  // The current thread waits.
  void Switch(Fiber* to);
  Fiber* FiberFor(const CudaThread& thread);

  // Lanes of the thread's warp: [first, first + lanes).
  unsigned FirstLane(const CudaThread& thread) const { return thread.warp() * 32; }
  unsigned Lanes(const CudaThread& thread) const {
    return std::min<unsigned>(32, static_cast<unsigned>(threads_.size()) - FirstLane(thread));
  }
  template <typename Visit>
  void InOrder(unsigned count, const Visit& visit) const {
    const bool reverse = settings().schedule == Schedule::kReverse;
    for (unsigned i = 0; i < count; ++i) visit(reverse ? count - 1 - i : i);
  }
  // Completes the operation that `any` waits in if all its lanes are there. `going_on`
  // is a lane that need not be queued.
  bool TryCompleteWarp(const CudaThread& any, const CudaThread* going_on);
  uint64_t WarpResult(unsigned first, uint32_t members, uint32_t ballot, unsigned lane) const;
  void OpenBarrier(const CudaThread* going_on);
  void Return(CudaThread* thread);

  Fiber host_;
  Fiber* running_ = &host_;
  Fiber* switched_from_ = &host_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;

  const std::function<void()>* body_ = nullptr;
  std::vector<CudaThread> threads_;
  ReadyQueue ready_;
  unsigned live_ = 0;
  unsigned at_barrier_ = 0;
  int predicates_ = 0, barrier_result_ = 0;
  uint32_t waiting_[32] = {};   // By warp: lanes in an operation,
  uint32_t returned_[32] = {};  // and lanes that returned.
  SharedMemory shared_;
  RaceChecker races_;
  uint64_t random_ = 1;
  std::string error_;
};

Grid& ThisGrid() {
  thread_local Grid grid;
  return grid;
}

std::string PlaceText(const CudaThread& thread) {
  std::string text = thread.state == State::kAtBarrier         ? "at __syncthreads()"
                     : thread.state == State::kInWarpOperation ? "in a warp operation"
                                                               : "running";
  if (thread.place.file == nullptr) return text;
  const char* const slash = std::strrchr(thread.place.file, '/');
  return text + " " + (slash != nullptr ? slash + 1 : thread.place.file) + ":" +
         std::to_string(thread.place.line);
}

void Grid::Switch(Fiber* to) {
  Fiber* const from = running_;
  running_ = to;
  switched_from_ = from;
  ++counts().switches;
  SwitchFiber(from, to);
}

Fiber* Grid::FiberFor(const CudaThread& thread) {
  if (kCheckRaces) {
    // A stack of its own, or its reuse would look like a race.
    const RaceChecker::AsHost host(races_);
    std::vector<Fiber*>& stacks = races_.stacks();
    while (stacks.size() <= thread.index) {
      fibers_.push_back(NewFiber(&Grid::FiberMain));
      stacks.push_back(fibers_.back().get());
    }
    return stacks[thread.index];
  }
  if (idle_.empty()) {
    fibers_.push_back(NewFiber(&Grid::FiberMain));
    return fibers_.back().get();
  }
  Fiber* const fiber = idle_.back();
  idle_.pop_back();
  return fiber;
}

void Grid::Become(CudaThread* thread) {
  current = thread;
  races_.SwitchTo(thread->index);
}

void Grid::Resume(CudaThread* thread) {
  if (thread->state == State::kNew) {
    thread->fiber = FiberFor(*thread);
    thread->fiber->begins_with = thread;
  }
  thread->state = State::kReady;
  if (thread->fiber != running_) Switch(thread->fiber);
}

void Grid::ToHost() {
  races_.SwitchToHost();
  Switch(&host_);
}

CudaThread* Grid::Next() {
  if (ready_.empty()) return nullptr;
  if (settings().schedule == Schedule::kRandom) ready_.Prefer(Random() % ready_.size());
  return &threads_[ready_.Pop()];
}

void Grid::Block() {
  CudaThread* const me = current;
  CudaThread* const next = Next();
  if (next == nullptr) {
    ToHost();
  } else {
    Resume(next);
  }
  Become(me);
}

void Grid::FiberMain() {
  Grid& grid = ThisGrid();
  BeginFiber(grid.switched_from_);
  Fiber* const self = grid.running_;
  for (;;) {
    auto* const thread = static_cast<CudaThread*>(self->begins_with);
    grid.Become(thread);
    grid.races_.ThreadBegins();
    (*grid.body_)();
    grid.races_.ThreadEnds();
    grid.Return(thread);
    CudaThread* const next = grid.Next();
    if (!kCheckRaces && next != nullptr && next->state == State::kNew) {
      // The stack goes to the next thread: no switch for kernels that never wait.
      next->fiber = self;
      next->state = State::kReady;
      self->begins_with = next;
      continue;
    }
    if (!kCheckRaces) grid.idle_.push_back(self);
    if (next != nullptr) {
      grid.Resume(next);
    } else {
      grid.ToHost();
    }
  }
}

template <typename What>
void Grid::Fail(const What& what) {
  {
    const RaceChecker::AsHost host(races_);
    const uint3 b = current->block_index;
    error_ = std::string(what()) + " [block " + std::to_string(b.x) + "," + std::to_string(b.y) +
             "," + std::to_string(b.z) + " thread " + std::to_string(current->index) + "]";
  }
  ToHost();
  std::abort();  // Nobody comes back to a grid that failed.
}

void Grid::OpenBarrier(const CudaThread* going_on) {
  races_.Meet([&](const auto& member) {
    for (CudaThread& thread : threads_) {
      if (thread.state == State::kAtBarrier) member(&thread);
    }
  });
  ++counts().barriers;
  barrier_result_ = predicates_;
  predicates_ = 0;
  at_barrier_ = 0;
  InOrder(static_cast<unsigned>(threads_.size()), [&](unsigned i) {
    if (threads_[i].state != State::kAtBarrier) return;
    threads_[i].state = State::kReady;
    if (&threads_[i] != going_on) ready_.Push(i);
  });
}

int Grid::Barrier(int predicate, Place place) {
  CudaThread* const me = current;
  if (at_barrier_ > 0) {
    for (const CudaThread& other : threads_) {
      if (other.state != State::kAtBarrier) continue;
      if (other.place.line != place.line || std::strcmp(other.place.file, place.file) != 0) {
        me->place = place;
        me->state = State::kAtBarrier;
        Fail([&] {
          return "divergent __syncthreads(): thread " + std::to_string(other.index) + " " +
                 PlaceText(other) + ", thread " + std::to_string(me->index) + " " + PlaceText(*me);
        });
      }
      break;  // Those that are there agree.
    }
  }
  me->place = place;
  me->state = State::kAtBarrier;
  predicates_ += predicate != 0 ? 1 : 0;
  races_.Arrive(me->index);
  if (++at_barrier_ == live_) {
    // The last one goes on at once, but not where that would always favour it.
    const bool favoured = settings().schedule == Schedule::kForward;
    OpenBarrier(favoured ? me : nullptr);
    if (!favoured) Block();
  } else {
    Block();
  }
  races_.Leave(me->joined);
  me->state = State::kReady;
  return barrier_result_;
}

uint64_t Grid::WarpResult(unsigned first, uint32_t members, uint32_t ballot, unsigned lane) const {
  const CudaThread& thread = threads_[first + lane];
  const WarpCall& call = thread.call;
  const int me = static_cast<int>(lane);
  const int base = me & ~(call.width - 1);
  int source = me;
  switch (call.op) {
    case WarpOp::kSync: return 0;
    case WarpOp::kBallot: return ballot;
    case WarpOp::kShuffle: source = base + (call.argument & (call.width - 1)); break;
    case WarpOp::kShuffleUp: source = me - call.argument >= base ? me - call.argument : me; break;
    case WarpOp::kShuffleDown:
      source = me + call.argument < base + call.width ? me + call.argument : me;
      break;
    case WarpOp::kShuffleXor:
      source = (me ^ call.argument) < base + call.width ? me ^ call.argument : me;
      break;
  }
  if ((members >> source & 1) == 0) return kNobody;
  return threads_[first + static_cast<unsigned>(source)].in;
}

bool Grid::TryCompleteWarp(const CudaThread& any, const CudaThread* going_on) {
  const unsigned first = FirstLane(any), lanes = Lanes(any);
  const uint32_t there = lanes == 32 ? ~uint32_t{0} : (uint32_t{1} << lanes) - 1;
  const uint32_t members = any.call.mask & ~returned_[any.warp()] & there;
  if ((members & ~waiting_[any.warp()]) != 0) return false;
  const auto for_members = [&](const auto& visit) {
    InOrder(lanes, [&](unsigned lane) {
      if ((members >> lane & 1) != 0) visit(lane, threads_[first + lane]);
    });
  };
  bool alike = true;
  uint32_t ballot = 0;
  for_members([&](unsigned lane, const CudaThread& thread) {
    alike = alike && thread.call.mask == any.call.mask && thread.call.op == any.call.op;
    if (thread.in != 0) ballot |= uint32_t{1} << lane;
  });
  if (!alike) return false;
  waiting_[any.warp()] &= ~members;
  ++counts().warp_operations;
  for_members([&](unsigned lane, CudaThread& thread) {
    thread.out = WarpResult(first, members, ballot, lane);
  });
  // CUDA promises order in memory for __syncwarp alone.
  if (any.call.op == WarpOp::kSync) {
    races_.Meet([&](const auto& member) {
      for_members([&](unsigned, CudaThread& thread) { member(&thread); });
    });
  }
  for_members([&](unsigned lane, CudaThread& thread) {
    thread.state = State::kReady;
    if (&thread != going_on) ready_.Push(first + lane);
  });
  return true;
}

uint64_t Grid::Warp(const WarpCall& call, uint64_t in, Place place) {
  CudaThread* const me = current;
  me->place = place;
  me->state = State::kInWarpOperation;
  me->call = call;
  me->in = in;
  me->joined = nullptr;
  if ((call.mask >> me->lane() & 1) == 0) {
    Fail([] { return "a warp operation whose mask leaves out its caller"; });
  }
  if (call.width < 1 || call.width > 32 || !std::has_single_bit(unsigned(call.width))) {
    Fail([&] { return "a shuffle of width " + std::to_string(call.width); });
  }
  waiting_[me->warp()] |= uint32_t{1} << me->lane();
  if (call.op == WarpOp::kSync) races_.Arrive(me->index);
  const bool favoured = settings().schedule == Schedule::kForward;
  if (!TryCompleteWarp(*me, favoured ? me : nullptr) || !favoured) Block();
  if (call.op == WarpOp::kSync) races_.Leave(me->joined);
  me->state = State::kReady;
  return me->out;
}

void Grid::Return(CudaThread* thread) {
  thread->state = State::kReturned;
  returned_[thread->warp()] |= uint32_t{1} << thread->lane();
  --live_;
  // What waited for this thread alone goes on.
  const unsigned first = FirstLane(*thread);
  for (unsigned i = first; i < first + Lanes(*thread); ++i) {
    const CudaThread& other = threads_[i];
    if (other.state != State::kInWarpOperation) continue;
    if ((waiting_[other.warp()] >> other.lane() & 1) == 0) continue;
    if ((other.call.mask >> thread->lane() & 1) != 0 && TryCompleteWarp(other, nullptr)) break;
  }
  if (live_ > 0 && at_barrier_ == live_) OpenBarrier(nullptr);
}

void Grid::Yield() {
  if (settings().schedule != Schedule::kRandom || ready_.empty() || Random() % 8 != 0) return;
  ready_.Push(current->index);
  Block();
}

void* Grid::Static(const void* key, size_t bytes, size_t alignment) {
  char* begin = nullptr;
  {
    const RaceChecker::AsHost host(races_);
    begin = shared_.Static(key, bytes, alignment);
  }
  if (begin == nullptr) Fail([] { return "static shared memory of more than 48 KiB"; });
  return begin;
}

void* Grid::Dynamic(size_t alignment) {
  if (shared_.dynamic() == nullptr) {
    Fail([] { return "dynamic shared memory in a launch of 0 bytes"; });
  }
  if (alignment > 16) Fail([] { return "dynamic shared memory is aligned to 16 bytes only"; });
  return shared_.dynamic();
}

void Grid::NoteDeadlock(uint64_t block) {
  struct Waiting {
    unsigned first = 0, count = 0;
  };
  std::map<std::string, Waiting> places;
  for (const CudaThread& thread : threads_) {
    if (thread.state == State::kReturned) continue;
    Waiting& waiting = places[PlaceText(thread)];
    if (waiting.count++ == 0) waiting.first = thread.index;
  }
  error_ = "deadlock:";
  for (const auto& [place, waiting] : places) {
    error_ += " " + std::to_string(waiting.count) + " threads (first " +
              std::to_string(waiting.first) + ") " + place + ";";
  }
  error_ += " " + std::to_string(threads_.size() - live_) + " returned [block " +
            std::to_string(block) + "]";
}

void Grid::RunBlock(uint64_t number, dim3 grid, dim3 block) {
  ++counts().blocks;
  const auto n = static_cast<unsigned>(threads_.size());
  const uint3 block_index{static_cast<unsigned>(number % grid.x),
                          static_cast<unsigned>(number / grid.x % grid.y),
                          static_cast<unsigned>(number / grid.x / grid.y)};
  ready_.Reset(n);
  InOrder(n, [&](unsigned i) {
    CudaThread& thread = threads_[i];
    thread = CudaThread();
    thread.thread_index = {i % block.x, i / block.x % block.y, i / block.x / block.y};
    thread.block_index = block_index;
    thread.block_dim = block;
    thread.grid_dim = grid;
    thread.index = i;
    ready_.Push(i);
  });
  std::fill(std::begin(waiting_), std::end(waiting_), 0u);
  std::fill(std::begin(returned_), std::end(returned_), 0u);
  live_ = n;
  at_barrier_ = 0;
  predicates_ = 0;
  races_.BeginBlock(n);
  while (live_ > 0 && error_.empty()) {
    CudaThread* const next = Next();
    if (next == nullptr) return NoteDeadlock(number);
    Resume(next);
  }
}

std::string Grid::Run(dim3 grid, dim3 block, size_t shared_bytes,
                      const std::function<void()>& body) {
  ++counts().launches;
  body_ = &body;
  error_.clear();
  random_ = settings().seed * 0x9e3779b97f4a7c15u + 0x1234567u;
  threads_.assign(block.x * block.y * block.z, CudaThread());
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  std::vector<uint64_t> order(blocks);
  for (uint64_t b = 0; b < blocks; ++b) {
    order[b] = settings().schedule == Schedule::kReverse ? blocks - 1 - b : b;
  }
  if (settings().schedule == Schedule::kRandom) {
    for (uint64_t b = blocks; b > 1; --b) std::swap(order[b - 1], order[Random() % b]);
  }
  races_.BeginGrid();
  for (const uint64_t b : order) {
    shared_.BeginBlock(shared_bytes);
    RunBlock(b, grid, block);
    if (!error_.empty()) break;
  }
  current = nullptr;
  if (!error_.empty()) {
    // Stacks of threads that never returned are dropped with what is on them.
    races_.EndAll();
    races_.DropStacks();
    idle_.clear();
    fibers_.clear();
  }
  races_.EndGrid();
  return error_;
}

}  // namespace

int SyncThreads(int predicate, Place place) {
  return ThisGrid().Barrier(predicate, place);
}
uint64_t WarpOperation(const WarpCall& call, uint64_t in, Place place) {
  return ThisGrid().Warp(call, in, place);
}
void MaybeYield() {
  if (current != nullptr) ThisGrid().Yield();
}
void* StaticShared(const void* key, size_t bytes, size_t alignment) {
  return ThisGrid().Static(key, bytes, alignment);
}
void* DynamicShared(size_t alignment) {
  return ThisGrid().Dynamic(alignment);
}
std::string RunGrid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body) {
  return ThisGrid().Run(grid, block, shared_bytes, body);
}

}  // namespace gpu::emulation
