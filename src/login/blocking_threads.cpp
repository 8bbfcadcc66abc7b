#include "src/login/blocking_threads.h"

#include <pthread.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace bezel::login {

struct BlockingThreads::State {
  const std::string name;
  const size_t threads_max, waiting_max;

  std::mutex mutex;  ///< guards what follows
  std::condition_variable changed;
  std::deque<Job> waiting;
  size_t threads = 0, idle = 0;
  bool stopped = false;

  State(std::string thread_name, size_t most_threads, size_t most_waiting)
      : name(std::move(thread_name)), threads_max(most_threads), waiting_max(most_waiting) {}
};

BlockingThreads::BlockingThreads(std::string name, size_t threads_max, size_t waiting_max)
    : state_(std::make_shared<State>(std::move(name), threads_max, waiting_max)) {}

BlockingThreads::~BlockingThreads() {
  stop(std::chrono::milliseconds(0));
}

bool BlockingThreads::run(Job job) {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (state.stopped) return false;
  if (state.waiting.size() >= state.waiting_max) {
    std::erase_if(state.waiting, [](const Job& one) { return one.is_unwanted(); });
    if (state.waiting.size() >= state.waiting_max) return false;
  }
  if (state.idle <= state.waiting.size() && state.threads < state.threads_max) {
    try {
      std::thread([shared = state_] { serve(shared); }).detach();
      state.threads++;
    } catch (const std::system_error&) {
      if (state.threads == 0) return false;
    }
  }
  state.waiting.push_back(std::move(job));
  state.changed.notify_one();
  return true;
}

void BlockingThreads::serve(const std::shared_ptr<State>& shared) {
  State& state = *shared;
  ::pthread_setname_np(::pthread_self(), state.name.c_str());
  std::unique_lock lock(state.mutex);
  while (true) {
    state.idle++;
    state.changed.wait(lock, [&] { return state.stopped || !state.waiting.empty(); });
    state.idle--;
    if (state.stopped) break;
    {
      const Job job = std::move(state.waiting.front());
      state.waiting.pop_front();
      if (job.is_unwanted()) continue;
      lock.unlock();
      job.work();
      lock.lock();
      if (!state.stopped) job.done();
    }
  }
  state.threads--;
  state.changed.notify_all();
}

bool BlockingThreads::stop(std::chrono::milliseconds patience) {
  State& state = *state_;
  std::unique_lock lock(state.mutex);
  state.stopped = true;
  state.waiting.clear();
  state.changed.notify_all();
  return state.changed.wait_for(lock, patience, [&] { return state.threads == 0; });
}

}  // namespace bezel::login
