#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>
#include <vector>

namespace bezel::net {

/// Where all connections of a loop receive into. Used from the front in each turn, so that a quiet loop stays in the
/// CPU's cache and touches few pages.
class ReceiveArena {
 public:
  static constexpr size_t kBytes = 256 * 1024;
  /// The most one recv() takes, and the least that must be free for it.
  static constexpr size_t kReceiveBytesMax = 64 * 1024;
  static constexpr size_t kReceiveBytesMin = 16 * 1024;
  /// Behind the arena: a place for bytes that nobody wants.
  static constexpr size_t kDiscardBytes = 16 * 1024;

  ReceiveArena() : memory_(new char[kBytes + kDiscardBytes]) {}
  char* head() { return memory_.get() + used_; }
  size_t room() const { return kBytes - used_; }
  bool is_full() const { return room() < kReceiveBytesMin; }
  void advance(size_t bytes) { used_ += bytes; }
  void reset();
  /// At the next reset() what has been received is overwritten.
  void wipe_at_reset() { holds_secret_ = true; }
  char* discard_area() { return memory_.get() + kBytes; }

 private:
  std::unique_ptr<char[]> memory_;
  size_t used_ = 0;
  bool holds_secret_ = false;
};

/// Copies that live until the end of the turn.
class CopyArena {
 public:
  /// Room for `size` bytes, valid until reset().
  char* allocate(size_t size);
  std::string_view copy(std::string_view bytes);
  void reset();
  /// At the next reset() what was allocated is overwritten.
  void wipe_at_reset() { holds_secret_ = true; }

 private:
  struct Large {
    std::unique_ptr<char[]> memory;
    size_t bytes;
  };
  void wipe();

  static constexpr size_t kChunkBytes = 64 * 1024;
  static constexpr size_t kLargeBytes = 16 * 1024;
  static constexpr size_t kChunksKept = 2;

  std::vector<std::unique_ptr<char[]>> chunks_;  ///< of kChunkBytes each; the first `current_` ones are full
  std::vector<Large> large_;
  size_t current_ = 0;
  size_t used_ = 0;  ///< of chunks_[current_]
  bool holds_secret_ = false;
};

/// What connections have queued in this turn: lists of borrowed pieces, all in one vector whose memory is kept.
class SliceLists {
 public:
  static constexpr uint32_t kNone = std::numeric_limits<uint32_t>::max();
  struct Slice {
    const char* data;
    size_t size;
    uint32_t next;
  };

  uint32_t add(std::string_view bytes) {
    slices_.push_back({bytes.data(), bytes.size(), kNone});
    return static_cast<uint32_t>(slices_.size() - 1);
  }
  Slice& at(uint32_t index) { return slices_[index]; }
  size_t size() const { return slices_.size(); }
  void clear();

 private:
  static constexpr size_t kKept = 16384;
  std::vector<Slice> slices_;
};

}  // namespace bezel::net
