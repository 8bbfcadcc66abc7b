#include "src/upstream/json_fields.h"

#include <algorithm>

namespace bezel::upstream {

namespace {

constexpr int kDepthMax = 32;

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 32 || c == 127;
}

}  // namespace

std::optional<Json> parse_object(std::string_view text) {
  bool is_too_deep = false;
  const auto watch_depth = [&](int depth, Json::parse_event_t, const Json&) {
    is_too_deep = is_too_deep || depth > kDepthMax;
    return !is_too_deep;  // what is false is not kept
  };
  Json parsed = Json::parse(text.begin(), text.end(), watch_depth, /*allow_exceptions=*/false);
  if (is_too_deep || !parsed.is_object()) return std::nullopt;
  return parsed;
}

const Json* find_member(const Json& object, const char* name) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(name);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

bool read_text(const Json& object, const char* name, size_t bytes_max, std::string& value) {
  const Json* const found = find_member(object, name);
  if (found == nullptr) return true;
  const auto* const text = found->get_ptr<const std::string*>();
  if (text == nullptr || text->size() > bytes_max || std::any_of(text->begin(), text->end(), is_control)) return false;
  value = *text;
  return true;
}

bool read_number(const Json& object, const char* name, uint64_t max, std::optional<uint64_t>& value) {
  const Json* const found = find_member(object, name);
  if (found == nullptr) return true;
  if (!found->is_number_unsigned()) return false;
  const auto number = found->get<uint64_t>();
  if (number > max) return false;
  value = number;
  return true;
}

bool read_flag(const Json& object, const char* name, bool& value) {
  const Json* const found = find_member(object, name);
  if (found == nullptr) return true;
  if (!found->is_boolean()) return false;
  value = found->get<bool>();
  return true;
}

bool is_true_in_python(const Json& value) {
  if (value.is_boolean()) return value.get<bool>();
  if (value.is_number()) return value != 0;
  if (value.is_string()) return !value.get_ref<const std::string&>().empty();
  return !value.empty();
}

}  // namespace bezel::upstream
