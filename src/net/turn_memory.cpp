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
    large_.push_back({std::unique_ptr<char[]>(new char[size]), size});
    return large_.back().memory.get();
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

void CopyArena::wipe() {
  for (const Large& large : large_) OPENSSL_cleanse(large.memory.get(), large.bytes);
  for (size_t i = 0; i < current_; i++) OPENSSL_cleanse(chunks_[i].get(), kChunkBytes);
  if (current_ < chunks_.size()) OPENSSL_cleanse(chunks_[current_].get(), used_);
}

void CopyArena::reset() {
  if (std::exchange(holds_secret_, false)) wipe();
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
