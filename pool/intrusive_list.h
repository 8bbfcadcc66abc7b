#pragma once

#include <cstddef>

namespace bezel::pool {

/// The place of an element in a list; part of the element. An element that is destroyed leaves its list by itself only
/// if its owner takes it out: lists do not own.
template <typename T>
struct ListHook {
  T* next = nullptr;
  T* previous = nullptr;
  bool linked = false;
};

/// A doubly linked list without allocations, through a hook inside its elements.
template <typename T, ListHook<T> T::*Hook>
class IntrusiveList {
 public:
  bool empty() const { return head_ == nullptr; }
  size_t size() const { return size_; }
  T* front() const { return head_; }
  T* back() const { return tail_; }
  static T* next(const T& element) { return (element.*Hook).next; }
  static bool contains(const T& element) { return (element.*Hook).linked; }

  void push_back(T& element) {
    ListHook<T>& hook = element.*Hook;
    hook = {nullptr, tail_, true};
    (tail_ != nullptr ? (tail_->*Hook).next : head_) = &element;
    tail_ = &element;
    size_++;
  }

  /// REQUIRES: `place` is in this list.
  void insert_before(T& place, T& element) {
    T* const previous = (place.*Hook).previous;
    element.*Hook = {&place, previous, true};
    (previous != nullptr ? (previous->*Hook).next : head_) = &element;
    (place.*Hook).previous = &element;
    size_++;
  }

  /// REQUIRES: the element is in this list, or in none (then nothing happens).
  void remove(T& element) {
    ListHook<T>& hook = element.*Hook;
    if (!hook.linked) return;
    (hook.previous != nullptr ? (hook.previous->*Hook).next : head_) = hook.next;
    (hook.next != nullptr ? (hook.next->*Hook).previous : tail_) = hook.previous;
    hook = {};
    size_--;
  }

 private:
  T* head_ = nullptr;
  T* tail_ = nullptr;
  size_t size_ = 0;
};

}  // namespace bezel::pool
