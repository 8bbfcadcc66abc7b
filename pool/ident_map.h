#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bezel::pool {

/// One map of auth_ident_file: which database users somebody may be who is known to the system (by a certificate, or
/// as the owner of a process) under another name. Immutable once it is in use; then any thread may ask it.
class IdentMap {
 public:
  /// Longer names of the system match nothing: what a pattern costs depends on them.
  static constexpr size_t kSystemUserBytesMax = 256;
  static constexpr size_t kPatternBytesMax = 1000;  ///< also with its repetitions written out

  IdentMap();
  IdentMap(IdentMap&&) noexcept;
  IdentMap& operator=(IdentMap&&) noexcept;
  ~IdentMap();

  /// One line of the map. A `system_user` that begins with '/' is a POSIX extended regular expression; the first \1 in
  /// `database_user` then stands for what its first parentheses match. "" or what is wrong.
  std::string add(const std::string& system_user, const std::string& database_user);
  /// The line's database user is `all`: that system user may be anybody.
  std::string add_for_all(const std::string& system_user);

  /// Whether any line lets `system_user` in as `database_user`.
  bool allows(std::string_view system_user, std::string_view database_user) const;

 private:
  struct Entry;
  std::string add_entry(const std::string& system_user, const std::string& database_user, bool is_all);

  std::vector<Entry> entries_;
};

/// By name.
using IdentMaps = std::map<std::string, std::shared_ptr<const IdentMap>, std::less<>>;

}  // namespace bezel::pool
