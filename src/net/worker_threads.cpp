#include "src/net/worker_threads.h"

#include <fmt/format.h>
#include <pthread.h>

#include <chrono>
#include <future>
#include <utility>

namespace bezel::net {

WorkerThreads::WorkerThreads(int workers, Log log) {
  group_.log = std::move(log);
  for (int i = 0; i < workers; i++) {
    runtimes_.push_back(std::make_unique<LoopRuntime>(group_, i));
    group_.members.push_back(runtimes_.back().get());
  }
}

WorkerThreads::~WorkerThreads() {
  stop();
}

std::string WorkerThreads::start(pool::BatchedSends sends, const ListenSockets* sockets) {
  std::vector<std::future<std::string>> prepared;
  std::promise<bool> decision;
  const std::shared_future<bool> go = decision.get_future().share();
  for (auto& runtime : runtimes_) {
    if (sockets != nullptr) runtime->listen(*sockets);
    std::promise<std::string> outcome;
    prepared.push_back(outcome.get_future());
    threads_.emplace_back([&worker = *runtime, sends, go, outcome = std::move(outcome)]() mutable {
      ::pthread_setname_np(::pthread_self(), fmt::format("bezel-worker-{}", worker.index()).c_str());
      // io_uring wants to be set up by the thread that will use it.
      outcome.set_value(worker.start_sending(sends));
      if (go.get()) worker.run();
    });
  }
  std::string error;
  for (auto& outcome : prepared) {
    std::string one = outcome.get();
    if (error.empty()) error = std::move(one);
  }
  decision.set_value(error.empty());
  if (!error.empty()) stop();
  return error;
}

void WorkerThreads::stop() {
  for (auto& runtime : runtimes_) runtime->request_stop();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
  // Each loop has waited for what it had offloaded, so that there is nothing to be patient with.
  constexpr std::chrono::seconds kPatience{10};
  group_.offloads.stop(kPatience);
}

}  // namespace bezel::net
