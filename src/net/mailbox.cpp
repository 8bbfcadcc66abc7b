#include "src/net/mailbox.h"

#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

#include "src/net/poller.h"

namespace bezel::net {

Mailbox::Mailbox() : event_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (!event_.is_open()) fail_to_make_loop(errno);
}

void Mailbox::post(Task task) {
  std::unique_lock lock(mutex_);
  if (!takes_tasks_) return;
  letters_.tasks.push_back(std::move(task));
  wake(std::move(lock));
}

void Mailbox::finished(std::unique_ptr<Offload> offload) {
  std::unique_lock lock(mutex_);
  letters_.finished.push_back(std::move(offload));
  wake(std::move(lock));
}

void Mailbox::request_stop() {
  std::unique_lock lock(mutex_);
  letters_.stop = true;
  wake(std::move(lock));
}

void Mailbox::wake(std::unique_lock<std::mutex> lock) {
  if (std::exchange(is_woken_, true)) return;
  // The loop may take this thread's core at once: it must not find the mutex locked.
  lock.unlock();
  ::eventfd_write(event_.get(), 1);
}

Mailbox::Letters Mailbox::take() {
  const std::lock_guard lock(mutex_);
  is_woken_ = false;
  return std::exchange(letters_, {});
}

void Mailbox::close_to_tasks() {
  std::vector<Task> dropped;  // destroyed when nothing is locked: they may own anything
  const std::lock_guard lock(mutex_);
  takes_tasks_ = false;
  dropped.swap(letters_.tasks);
}

}  // namespace bezel::net
