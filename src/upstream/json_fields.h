#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

// Reading JSON of peers, who may send anything: nothing here throws, and every text has a bound.
namespace bezel::upstream {

using Json = nlohmann::json;

/// A JSON object; nothing if the text is not one, or is nested deeper than anything that is read here.
std::optional<Json> parse_object(std::string_view text);

/// A member of an object; null if `object` is none, or has none of that name, or that is JSON's null.
const Json* find_member(const Json& object, const char* name);

// The following read a member of `object` that may be missing (or null), which leaves `value` as it is. False if it is
// of another type, or out of bounds.
bool read_text(const Json& object, const char* name, size_t bytes_max, std::string& value);
bool read_number(const Json& object, const char* name, uint64_t max, std::optional<uint64_t>& value);
bool read_flag(const Json& object, const char* name, bool& value);

/// Whether Python takes a value for true, as Patroni does with tags.
bool is_true_in_python(const Json& value);

}  // namespace bezel::upstream
