#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "src/config/problem.h"
#include "src/config/settings_loader.h"

// YAML files and what they include, merged but not yet understood.
namespace bezel::config {

struct Origin {
  std::string file;
  int line = 0;  ///< from 1; 0: the file as a whole
};

/// A key's value and where the key stands.
struct Item {
  Origin origin;
  YAML::Node node;
};

using Items = std::map<std::string, Item, std::less<>>;

/// A file with all that it includes.
struct Configuration {
  Items settings, databases, users;
  bool complete = true;  ///< false: some file, or part of one, is missing here, as an error says
};

/// A value as text, or what is there instead.
struct TextValue {
  std::string text;
  std::string error;  ///< empty: all is well. "found a list" and the like, or a fault of a ${...}
};

/// Reads the file and those it includes. What cannot be read or merged becomes an error; the rest is still there, so
/// that all errors of a configuration come out at once.
Configuration read_configuration(const std::string& path, const Environment& environment, ProblemList& errors);

/// A scalar with its ${...} replaced.
TextValue text_value(const YAML::Node& node, const Environment& environment);

/// A scalar as it is written: only fit for what replaces the ${...} by itself.
TextValue raw_text_value(const YAML::Node& node);

/// "nothing", "a list", "a map" or "a text".
std::string_view kind_of_node(const YAML::Node& node);

/// A map's keys and values in their order, without keys that are not plain or come twice: these become errors. `key`
/// names the map in errors; `file` is the file that holds it.
std::vector<std::pair<std::string, Item>> map_items(const YAML::Node& map, const std::string& file,
                                                    const std::string& key, ProblemList& errors);

/// `name`, if it is relative, as seen from the folder of `file`.
std::string path_beside(const std::string& file, const std::string& name);

/// A whole file of at most 16 MiB, or why not.
struct FileContent {
  std::string content;
  std::string error;
};
FileContent read_file(const std::string& path);

}  // namespace bezel::config
