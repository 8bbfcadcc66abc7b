#include "src/net/turn_memory.h"

#include <openssl/crypto.h>

#include <cstring>
#include <utility>

namespace bezel::net {

void ReceiveArena::reset() {
  if (std::exchange(holds_secret_, false)) OPENSSL_cleanse(memory_.get(), used_);
  used_ = 0;
}

char* CopyArena::allocate(size_t size) {
  if (size > kLargeBytes) {
    large_.emplace_back(new char[size]);
    return large_.back().get();
  }
  if (chunks_.empty()) chunks_.emplace_back(new char[kChunkBytes]);
  if (kChunkBytes - used_ < size) {
    current_++;
    used_ = 0;
    if (current_ == chunks_.size()) chunks_.emplace_back(new char[kChunkBytes]);
  }
  char* const memory = chunks_[current_].get() + used_;
  used_ += size;
  return memory;
}

std::string_view CopyArena::copy(std::string_view bytes) {
  char* const memory = allocate(bytes.size());
  std::memcpy(memory, bytes.data(), bytes.size());
  return {memory, bytes.size()};
}

void CopyArena::reset() {
  if (chunks_.size() > kChunksKept) chunks_.resize(kChunksKept);
  if (!large_.empty()) large_.clear();
  current_ = 0;
  used_ = 0;
}

void SliceLists::clear() {
  slices_.clear();
  // One wild turn must not cost its memory for ever.
  if (slices_.capacity() > kKept) slices_.shrink_to_fit();
}

}  // namespace bezel::net
