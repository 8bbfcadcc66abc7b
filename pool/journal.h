#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace bezel::pool {

/// A bounded copy of what a client has asked of its server since all was answered last: its messages as they came, but
/// for the data that it copies in. Its memory is kept for the next ones.
class Journal {
 public:
  static constexpr size_t kBytesMax = 16 * 1024;

  void append(std::string_view bytes) {
    if (overflowed_) return;
    if (bytes.size() > kBytesMax - bytes_.size()) {
      overflowed_ = true;
      bytes_.clear();
      return;
    }
    bytes_.append(bytes);
  }
  /// A CopyData is left out.
  void skip_copy_data() { without_copy_data_ = true; }
  void clear() {
    bytes_.clear();
    overflowed_ = without_copy_data_ = false;
  }
  /// Whether it has everything, but for CopyData.
  bool complete() const { return !overflowed_; }
  bool without_copy_data() const { return without_copy_data_; }
  std::string_view bytes() const { return bytes_; }

 private:
  std::string bytes_;
  bool overflowed_ = false;
  bool without_copy_data_ = false;
};

}  // namespace bezel::pool
