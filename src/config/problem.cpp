#include "src/config/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace bezel::config {

std::string Problem::text() const {
  std::string text;
  if (!file.empty()) text += line > 0 ? fmt::format("{}:{}: ", file, line) : file + ": ";
  if (!key.empty()) text += key + ": ";
  return text + message;
}

std::vector<Problem> ProblemList::take() {
  std::stable_sort(problems_.begin(), problems_.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.file, a.line) < std::tie(b.file, b.line);
  });
  if (left_out_ > 0) problems_.push_back({{}, 0, {}, fmt::format("and {} more", left_out_)});
  left_out_ = 0;
  return std::move(problems_);
}

}  // namespace bezel::config
