// When a ClientHello is whole, so that OpenSSL need not wait for it.

#include <doctest/doctest.h>

#include <string>

#include "src/tls/client_hello.h"

using namespace bezel::tls;

namespace {

std::string record(const std::string& content, char type = 22) {
  const size_t size = content.size();
  return std::string{type, 3, 1, static_cast<char>(size >> 8), static_cast<char>(size)} + content;
}

std::string message(size_t body_bytes, char type = 1) {
  return std::string{type, static_cast<char>(body_bytes >> 16), static_cast<char>(body_bytes >> 8),
                     static_cast<char>(body_bytes)} +
         std::string(body_bytes, 'h');
}

/// The message in records of that size.
std::string in_pieces(const std::string& whole, size_t size) {
  std::string records;
  for (size_t at = 0; at < whole.size(); at += size) records += record(whole.substr(at, size));
  return records;
}

}  // namespace

TEST_CASE("ClientHello: whole with its last byte, in one record or many") {
  for (const size_t body_bytes : {0u, 1u, 300u, 16380u}) {
    for (const size_t piece : {1u, 2u, 3u, 4u, 5u, 100u, 16384u}) {
      CAPTURE(body_bytes);
      CAPTURE(piece);
      const std::string bytes = in_pieces(message(body_bytes), piece);
      CHECK(look_at_hello(bytes) == HelloProgress::whole);
      CHECK(look_at_hello(bytes.substr(0, bytes.size() - 1)) == HelloProgress::incomplete);
      CHECK(look_at_hello(bytes + "what comes behind it") == HelloProgress::whole);
    }
  }
  const std::string bytes = in_pieces(message(50), 20);
  for (size_t size = 0; size < bytes.size(); size++) {
    CAPTURE(size);
    CHECK(look_at_hello(bytes.substr(0, size)) == HelloProgress::incomplete);
  }
}

TEST_CASE("ClientHello: what is none is not waited for") {
  for (const std::string& bytes : {std::string("GET / HTTP/1.1\r\n"), std::string(1, '\0'), std::string("\x80\x2e\x01"),
                                   record(message(10), 23), record("x"), record(message(10, 2)), record(""),
                                   std::string("\x16\x03\x01\xff\xff", 5), record(std::string("\x01\xff\xff\xff", 4)),
                                   record(std::string("\x01\x00\x3f\xfd", 4)), record(std::string(1, '\1')) + "x"}) {
    CAPTURE(bytes);
    CHECK(look_at_hello(bytes) == HelloProgress::invalid);
  }
}
