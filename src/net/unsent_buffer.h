#pragma once

#include <cstddef>
#include <memory>
#include <string_view>

namespace bezel::net {

/// Bytes of a connection that the kernel has not taken yet. Empty it is one pointer; the memory is as large as needed
/// and goes when all is sent.
class UnsentBuffer {
 public:
  bool empty() const { return block_ == nullptr; }
  size_t size() const { return block_ == nullptr ? 0 : block_->end - block_->begin; }
  char* data() { return memory() + block_->begin; }
  /// Makes room for `bytes` more, so that as many append() calls do not move memory again.
  void reserve(size_t bytes);
  void append(std::string_view bytes);
  /// Takes off the first bytes. REQUIRES: bytes <= size().
  void consume(size_t bytes);
  void clear() { block_.reset(); }

 private:
  struct Block {
    size_t begin, end, capacity;  ///< offsets into the memory that follows
  };
  struct Free {
    void operator()(Block* block) const;
  };
  char* memory() { return reinterpret_cast<char*>(block_.get() + 1); }
  std::unique_ptr<Block, Free> block_;
};

}  // namespace bezel::net
