#include "src/net/blocking_threads.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace bezel::net {
namespace {

bool is_unwanted(const BlockingThreads::Job& job) {
  return job.is_unwanted && job.is_unwanted();
}

}  // namespace

struct BlockingThreads::State {
  const std::string name;
  const size_t threads_max, waiting_max;
  const int nice;

  std::mutex mutex;  ///< guards what follows
  std::condition_variable changed;
  std::deque<Job> waiting;
  std::vector<std::thread> threads;  // until stop()
  size_t serving = 0, idle = 0;
  bool stopped = false;

  State(std::string its_name, const Limits& limits)
      : name(std::move(its_name)),
        threads_max(limits.threads_max),
        waiting_max(limits.waiting_max),
        nice(limits.nice) {}
};

BlockingThreads::BlockingThreads(std::string name, const Limits& limits)
    : state_(std::make_shared<State>(std::move(name), limits)) {}

BlockingThreads::~BlockingThreads() {
  stop(std::chrono::milliseconds(0));
}

bool BlockingThreads::run(Job job) {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  if (state.stopped) return false;
  if (state.waiting.size() >= state.waiting_max) {
    std::erase_if(state.waiting, is_unwanted);
    if (state.waiting.size() >= state.waiting_max) return false;
  }
  if (state.idle <= state.waiting.size() && state.threads.size() < state.threads_max) {
    try {
      state.threads.emplace_back([shared = state_] { serve(shared); });
      state.serving++;
    } catch (const std::system_error&) {
      if (state.threads.empty()) return false;
    }
  }
  state.waiting.push_back(std::move(job));
  lock.unlock();
  state.changed.notify_one();
  return true;
}

void BlockingThreads::serve(const std::shared_ptr<State>& shared) {
  State& state = *shared;
  ::pthread_setname_np(::pthread_self(), state.name.c_str());
  // Linux keeps it for each thread (setpriority(2), notes). Giving way is always permitted.
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::gettid()), state.nice);
  std::unique_lock lock(state.mutex);
  while (true) {
    state.idle++;
    state.changed.wait(lock, [&] { return state.stopped || !state.waiting.empty(); });
    state.idle--;
    if (state.stopped) break;
    {
      const Job job = std::move(state.waiting.front());
      state.waiting.pop_front();
      if (is_unwanted(job)) continue;
      lock.unlock();
      job.work();
      lock.lock();
      if (!state.stopped && job.done) job.done();
    }
  }
  state.serving--;
  state.changed.notify_all();
}

bool BlockingThreads::stop(std::chrono::milliseconds patience) {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  state.stopped = true;
  state.waiting.clear();
  state.changed.notify_all();
  const bool all_end = state.changed.wait_for(lock, patience, [&] { return state.serving == 0; });
  std::vector<std::thread> threads = std::exchange(state.threads, {});
  lock.unlock();
  for (std::thread& thread : threads) {
    // What libraries keep for a thread is destroyed after its function has returned, and must be so before the process
    // destroys what they keep for all.
    if (all_end) {
      thread.join();
    } else {
      thread.detach();
    }
  }
  return all_end;
}

}  // namespace bezel::net
