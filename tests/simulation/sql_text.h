#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace bezel::simulation {

// The model's SQL as text: see Session.

/// A name in small letters.
std::string lower(std::string_view name);

/// At semicolons outside quotes; without empty ones.
std::vector<std::string> split_statements(std::string_view text);

/// Without its double quotes.
std::string unquoted_name(std::string_view name);

/// Reads E'...' at `at` and moves behind it.
std::string quoted_literal(std::string_view text, size_t& at);

bool begins_with(std::string_view text, std::string_view start);

/// The word at that place as a number; 0: there is none.
int number(const std::vector<std::string>& words, size_t index);

/// Whether it ends a transaction.
bool is_exit(std::string_view text);

bool returns_rows(std::string_view text);

/// The words of a statement.
std::vector<std::string> words_of(std::string_view text);

}  // namespace bezel::simulation
