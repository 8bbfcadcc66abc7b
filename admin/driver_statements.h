#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "admin/request.h"
#include "admin/statement.h"

namespace bezel::admin {

/// What the console claims as its server_version: the PgBouncer that it stands for, then its own name.
inline constexpr std::string_view kServerVersion = "1.25.0/bezel";

/// Statements that drivers and connection pools send by themselves: BEGIN, DISCARD ALL, SELECT 1 and their like. They
/// are answered so that the drivers are content, and change nothing.
std::optional<Request> find_driver_statement(const std::vector<Token>& tokens);

/// `SHOW <name>` of a PostgreSQL setting that drivers ask for.
std::optional<Request> find_parameter(std::string_view name);

/// Whether `SET <name>` is one that drivers send to PostgreSQL. It is accepted from everybody and ignored.
bool is_ignored_setting(std::string_view name);

/// For documentation: the names that find_parameter() knows, and those of is_ignored_setting().
std::vector<std::string_view> parameter_names();
std::span<const std::string_view> ignored_settings();
/// The fixed texts that find_driver_statement() answers with a row, normalized.
std::vector<std::string_view> driver_queries();

}  // namespace bezel::admin
