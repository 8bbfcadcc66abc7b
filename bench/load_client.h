#pragma once

#include <string>
#include <string_view>

#include "bench/frames.h"

namespace bezel::bench {

/// How a client puts its query.
enum class QueryProtocol { kSimple, kExtended, kPrepared };

/// The messages of one transaction, made once for all clients.
struct Request {
  QueryProtocol protocol = QueryProtocol::kSimple;
  std::string preparation;  ///< sent once after the login; empty for none
  std::string transaction;  ///< sent again and again: one query, one ReadyForQuery
};

/// Builds the messages for `sql`: Query; Parse, Bind, Describe, Execute, Sync on unnamed objects; or a named Parse
/// first and then Bind, Describe, Execute, Sync.
Request make_request(QueryProtocol protocol, std::string_view sql);

/// Reads one client's answers and checks that each is whole: the right messages, once each, nothing unasked for.
class ReplyReader {
 public:
  enum class Result { kPending, kReady, kFailed };

  /// What is awaited next; forgets the last reply.
  void expect_login() { awaiting_ = Awaiting::kLogin, counts_ = {}; }
  void expect_preparation() { awaiting_ = Awaiting::kPreparation, counts_ = {}; }
  void expect_reply(QueryProtocol protocol) { awaiting_ = Awaiting::kReply, protocol_ = protocol, counts_ = {}; }
  void expect_nothing() { awaiting_ = Awaiting::kNothing, counts_ = {}; }

  /// Takes in bytes. kReady: the awaited answer is whole and right. kFailed: it is not, see error(); after an
  /// ErrorResponse within an otherwise whole answer (can_continue()) the client may go on.
  Result consume(std::string_view bytes);

  bool can_continue() const { return can_continue_; }
  const std::string& error() const { return error_; }

 private:
  enum class Awaiting { kNothing, kLogin, kPreparation, kReply };
  struct Counts {
    int parsed = 0, bound = 0, described = 0, rows = 0, completed = 0, errors = 0;
  };

  Result take(const Frame& frame);
  Result finish(const Frame& ready);
  Result fail(std::string text, bool can_continue);

  FrameReader reader_;
  Awaiting awaiting_ = Awaiting::kNothing;
  QueryProtocol protocol_ = QueryProtocol::kSimple;
  Counts counts_;
  std::string error_;
  bool can_continue_ = false;
};

}  // namespace bezel::bench
