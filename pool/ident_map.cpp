#include "pool/ident_map.h"

#include <fmt/format.h>
#include <regex.h>

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

namespace bezel::pool {

namespace {

constexpr std::string_view kFirstMatch = "\\1";

/// A compiled pattern. glibc's, as std::regex may use up the stack.
class Pattern {
 public:
  Pattern() = default;
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  ~Pattern() {
    if (compiled_) regfree(&regex_);
  }
  /// "" or what is wrong.
  std::string compile(const std::string& text) {
    const int status = regcomp(&regex_, text.c_str(), REG_EXTENDED);
    compiled_ = status == 0;
    if (compiled_) return "";
    std::array<char, 200> why{};
    regerror(status, &regex_, why.data(), why.size());
    return why.data();
  }
  size_t groups() const { return regex_.re_nsub; }
  /// The whole match and that of the first parentheses.
  bool matches(const std::string& text, std::array<regmatch_t, 2>& found) const {
    return regexec(&regex_, text.c_str(), found.size(), found.data(), 0) == 0;
  }

 private:
  regex_t regex_{};
  bool compiled_ = false;
};

/// glibc knows \1 inside patterns too, and may take exponential time for it.
bool has_back_reference(std::string_view pattern) {
  for (size_t i = 0; i + 1 < pattern.size(); i++) {
    if (pattern[i] != '\\') continue;
    i++;
    if (pattern[i] >= '1' && pattern[i] <= '9') return true;
  }
  return false;
}

/// The greater number of a repetition, {m}, {m,}, {,n} or {m,n}, and the bytes that it takes; of anything else no
/// bytes.
struct Repetition {
  size_t times = 0, bytes = 0;
};

Repetition repetition_at(std::string_view text) {
  const size_t end = text.find('}');
  if (text.empty() || text.front() != '{' || end == std::string_view::npos) return {};
  Repetition found{1, end + 1};
  size_t number = 0;
  for (const char c : text.substr(1, end - 1)) {
    if (c != ',' && (c < '0' || c > '9')) return {};
    number = c == ',' ? 0 : std::min(number * 10 + static_cast<size_t>(c - '0'), IdentMap::kPatternBytesMax + 1);
    found.times = std::max(found.times, number);
  }
  return found;
}

/// Whether a pattern is longer than kPatternBytesMax with its repetitions written out. That is how glibc compiles it:
/// a{1,32767} takes gigabytes. It is rather counted too long than too short, for it is no parser.
bool repeats_too_much(std::string_view pattern) {
  constexpr size_t kMax = IdentMap::kPatternBytesMax;
  std::vector<size_t> outer;  // what stands before the parentheses that are open
  size_t sum = 0, last = 0;
  while (!pattern.empty()) {
    size_t bytes = 1;
    if (const Repetition repetition = repetition_at(pattern); repetition.bytes > 0) {
      sum += last * (repetition.times - 1);
      last *= repetition.times;
      bytes = repetition.bytes;
    } else if (pattern.front() == '(') {
      outer.push_back(std::exchange(sum, 0));
    } else if (pattern.front() == ')' && !outer.empty()) {
      last = sum;
      sum += outer.back();
      outer.pop_back();
    } else if (std::string_view("*+?").find(pattern.front()) == std::string_view::npos) {
      last = 1;
      sum++;
      if (pattern.front() == '\\') bytes = std::min<size_t>(2, pattern.size());
    }
    if (sum > kMax) return true;
    pattern.remove_prefix(bytes);
  }
  return false;
}

}  // namespace

struct IdentMap::Entry {
  std::string system_user;
  std::unique_ptr<Pattern> pattern;  // instead of system_user
  std::string database_user;
  bool is_all = false;

  bool allows(const std::string& system, std::string_view database) const {
    if (!pattern) return system == system_user && (is_all || database == database_user);
    std::array<regmatch_t, 2> found{};
    if (!pattern->matches(system, found)) return false;
    if (is_all) return true;
    const size_t at = database_user.find(kFirstMatch);
    if (at == std::string::npos) return database == database_user;
    if (found[1].rm_so < 0) return false;
    std::string expected = database_user;
    expected.replace(at, kFirstMatch.size(), system, static_cast<size_t>(found[1].rm_so),
                     static_cast<size_t>(found[1].rm_eo - found[1].rm_so));
    return database == expected;
  }
};

IdentMap::IdentMap() = default;
IdentMap::IdentMap(IdentMap&&) noexcept = default;
IdentMap& IdentMap::operator=(IdentMap&&) noexcept = default;
IdentMap::~IdentMap() = default;

std::string IdentMap::add(const std::string& system_user, const std::string& database_user) {
  return add_entry(system_user, database_user, false);
}

std::string IdentMap::add_for_all(const std::string& system_user) {
  return add_entry(system_user, "", true);
}

std::string IdentMap::add_entry(const std::string& system_user, const std::string& database_user, bool is_all) {
  Entry entry{system_user, nullptr, database_user, is_all};
  if (system_user.starts_with('/')) {
    const std::string text = system_user.substr(1);
    if (text.size() > kPatternBytesMax) {
      return fmt::format("expected a regular expression of at most {} bytes", kPatternBytesMax);
    }
    if (repeats_too_much(text)) {
      return fmt::format("expected a regular expression of at most {} bytes with its repetitions written out",
                         kPatternBytesMax);
    }
    if (has_back_reference(text)) return "back-references inside a regular expression are not supported";
    entry.pattern = std::make_unique<Pattern>();
    if (const std::string error = entry.pattern->compile(text); !error.empty()) {
      return fmt::format("invalid regular expression \"{}\": {}", text, error);
    }
    if (database_user.find(kFirstMatch) != std::string::npos && entry.pattern->groups() == 0) {
      return fmt::format("regular expression \"{}\" has no parentheses as requested by the back-reference in \"{}\"",
                         text, database_user);
    }
  }
  entries_.push_back(std::move(entry));
  return "";
}

bool IdentMap::allows(std::string_view system_user, std::string_view database_user) const {
  if (system_user.empty() || system_user.size() > kSystemUserBytesMax) return false;
  if (system_user.find('\0') != std::string_view::npos) return false;
  const std::string system(system_user);
  for (const Entry& entry : entries_) {
    if (entry.allows(system, database_user)) return true;
  }
  return false;
}

}  // namespace bezel::pool
