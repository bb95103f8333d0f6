// Splits work over a thread pool so that neither the split nor the order of sums depends on the number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

namespace spikax {

// Handing a task to another thread costs microseconds, so less work than this (in entries visited, about a nanosecond each) runs
// on the calling thread.
inline constexpr int64_t kInlineWork = 32768;

// Runs body(task) once for each task in [0, tasks). The caller takes tasks like every helper and, when none is left, waits only
// for those that a helper has begun: a helper that the pool never gets round to start holds nobody up, so any number of handlers
// may share a pool of any size. `pool` needs num_threads() and Schedule(function). What `body` may throw is std::bad_alloc; the caller
// gets it, too, once no task runs any more.
template <typename Pool, typename Body>
void ParallelFor(Pool& pool, int64_t tasks, const Body& body) {
  const int64_t helpers = std::min<int64_t>(tasks, pool.num_threads()) - 1;
  if (helpers <= 0) {
    for (int64_t task = 0; task < tasks; ++task) body(task);
    return;
  }
  struct Shared {
    std::atomic<int64_t> next{0};
    std::atomic<bool> exhausted{false};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable finished;
  };
  // Shared ownership: a helper may start after the caller has returned; it then finds no task and touches only this.
  auto shared = std::make_shared<Shared>();
  auto work = [shared, tasks, &body] {
    int64_t mine = 0;
    for (int64_t task; (task = shared->next.fetch_add(1, std::memory_order_relaxed)) < tasks; ++mine) {
      try {
        body(task);
      } catch (const std::bad_alloc&) {
        shared->exhausted = true;
      }
    }
    if (mine == 0) return;
    std::lock_guard<std::mutex> lock(shared->mutex);
    shared->done += mine;
    if (shared->done == tasks) shared->finished.notify_one();
  };
  try {
    for (int64_t i = 0; i < helpers; ++i) {
      auto helper = work;
      pool.Schedule(std::move(helper));
    }
  } catch (const std::bad_alloc&) {
    // The helpers that were started refer to `body`, so stay; fewer of them do the work as well.
  }
  work();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->finished.wait(lock, [&] { return shared->done == tasks; });
  if (shared->exhausted) throw std::bad_alloc();
}

// How many tasks to make of work that is worth `tasks` of them: a power of two, so that two, four or eight threads end together.
inline int64_t EvenChunks(int64_t tasks) {
  int64_t chunks = 1;
  while (chunks < 16 && 2 * chunks <= tasks) chunks *= 2;
  return chunks;
}

// The half-open range that task number `task` of `tasks` has of [0, size).
struct Range {
  int64_t begin, end;
};
inline Range Slice(int64_t size, int64_t task, int64_t tasks) {
  // Quotient and remainder apart: size * task would overflow for large arrays.
  const int64_t each = size / tasks, rest = size % tasks;
  const int64_t begin = each * task + std::min(task, rest);
  return {begin, begin + each + (task < rest ? 1 : 0)};
}

}  // namespace spikax
