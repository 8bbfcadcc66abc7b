#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "pool/prepared_statements.h"

namespace bezel::pool {

/// What was asked of a server, and what is to become of its answer.
enum class Request : uint8_t {
  query,
  function_call,
  sync,  // these are answered up to a ReadyForQuery: ends_with_ready()
  parse,
  bind,
  describe,
  execute,
  close,     // these by one or more messages of their own
  copy_end,  // CopyDone or CopyFail sent before the server asked for data: no answer
};

/// Whether its answer ends with a ReadyForQuery.
constexpr bool ends_with_ready(Request request) {
  return request == Request::query || request == Request::function_call || request == Request::sync;
}

enum class Answer : uint8_t {
  forward,  ///< the client's
  swallow,  ///< the pooler asked for itself
  forge,    ///< the server was not asked: the pooler answers when the turn comes
};

struct OutstandingRequest {
  Request request;
  Answer answer = Answer::forward;
  /// The client's table of names was changed ahead of the answer; an error takes the change back.
  bool changes_names = false;
  /// parse: what the server has once this succeeds. bind: what it binds.
  StatementPtr statement = nullptr;
};

/// The requests that a server has not answered yet, in the order in which it will. A growing ring.
class OutstandingQueue {
 public:
  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  OutstandingRequest& front() { return ring_[head_]; }
  OutstandingRequest& at(size_t index) { return ring_[(head_ + index) & (ring_.size() - 1)]; }
  const OutstandingRequest& at(size_t index) const { return ring_[(head_ + index) & (ring_.size() - 1)]; }

  void push(OutstandingRequest request) {
    if (size_ == ring_.size()) grow();
    ring_[(head_ + size_) & (ring_.size() - 1)] = std::move(request);
    size_++;
  }
  void pop() {
    ring_[head_].statement.reset();
    head_ = (head_ + 1) & (ring_.size() - 1);
    size_--;
  }
  /// Takes out one in the middle.
  void erase(size_t index) {
    for (; index + 1 < size_; index++) at(index) = std::move(at(index + 1));
    at(size_ - 1).statement.reset();
    size_--;
  }
  void clear() {
    while (size_ > 0) pop();
  }

 private:
  void grow() {
    std::vector<OutstandingRequest> larger(ring_.empty() ? 16 : 2 * ring_.size());
    for (size_t i = 0; i < size_; i++) larger[i] = std::move(at(i));
    ring_ = std::move(larger);
    head_ = 0;
  }

  std::vector<OutstandingRequest> ring_;  // its size is zero or a power of two
  size_t head_ = 0;
  size_t size_ = 0;
};

}  // namespace bezel::pool
