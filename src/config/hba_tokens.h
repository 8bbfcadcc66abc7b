#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "src/config/problem.h"

// The common form of PostgreSQL's pg_hba.conf and pg_ident.conf: lines of fields, fields of words with commas between
// them, comments, quotes, continued lines, included files. What the fields mean is not known here.
namespace bezel::config {

struct HbaToken {
  std::string text;
  bool quoted = false;  ///< then it is a name even if it looks like a keyword

  bool is(std::string_view keyword) const { return !quoted && text == keyword; }
};

using HbaField = std::vector<HbaToken>;

/// A line that says something.
struct HbaLine {
  std::string file;
  int line = 0;  ///< where it begins
  std::vector<HbaField> fields;
};

constexpr int kHbaIncludeDepthMax = 10;  // as in PostgreSQL
constexpr size_t kHbaFilesMax = 1000;
constexpr size_t kHbaLinesMax = 100'000;
constexpr size_t kHbaTokensMax = 1'000'000;

/// The lines of a file, whose content is given, and of those that it includes in their places; @names are replaced by
/// what stands in these files. What is wrong becomes an error with its line. Whatever else than `path` the result
/// depends on is added to `included`, there or not: files, and folders as NAME/. . Blocks on the included files.
std::vector<HbaLine> read_hba_lines(const std::string& path, std::string_view content, ProblemList& errors,
                                    std::vector<std::string>& included);

/// The words of one text, with blanks or commas between them; there are no comments, nothing is included. Stops at what
/// is wrong, with an error.
std::vector<std::string> cut_words(std::string_view text, std::string& error);

}  // namespace bezel::config
