#include "src/net/unsent_buffer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

namespace bezel::net {

void UnsentBuffer::Free::operator()(Block* block) const {
  std::free(block);
}

void UnsentBuffer::reserve(size_t bytes) {
  const size_t size_now = size();
  if (!empty() && block_->capacity - block_->end >= bytes) return;
  if (!empty() && block_->capacity - size_now >= bytes && block_->begin >= size_now) {
    // Half of it or more is already sent: moving the rest to the front costs less than it gains.
    std::memcpy(memory(), data(), size_now);
    block_->begin = 0;
    block_->end = size_now;
    return;
  }
  // The first block is exact; one that grows is being fed faster than sent, and grows by halves.
  const size_t capacity = empty() ? bytes : std::max(size_now + bytes, size_now + size_now / 2);
  auto* const block = static_cast<Block*>(std::malloc(sizeof(Block) + capacity));
  if (block == nullptr) throw std::bad_alloc();
  *block = {0, size_now, capacity};
  if (size_now > 0) std::memcpy(block + 1, data(), size_now);
  block_.reset(block);
}

void UnsentBuffer::append(std::string_view bytes) {
  if (bytes.empty()) return;
  reserve(bytes.size());
  std::memcpy(memory() + block_->end, bytes.data(), bytes.size());
  block_->end += bytes.size();
}

void UnsentBuffer::consume(size_t bytes) {
  if (bytes == size()) {
    clear();
  } else {
    block_->begin += bytes;
  }
}

}  // namespace bezel::net
