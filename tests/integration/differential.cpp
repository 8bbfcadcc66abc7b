#include "integration/differential.h"

#include <doctest/doctest.h>

#include <random>
#include <stdexcept>

#include "integration/loopback.h"
#include "protocol/error_response.h"
#include "protocol/frames.h"

namespace bezel::integration {

namespace {

constexpr const char* kSchema =
    "CREATE TABLE t (a int PRIMARY KEY, b text);"
    "CREATE TABLE log (line text);"
    "GRANT ALL ON t, log TO app;";

constexpr const char* kTheEnd = "that was all";

/// The text without what stands between quotes behind `prepared statement`. Where a client has two names for the same
/// statement, or has closed the name meanwhile, the pooler cannot tell which one the client has used.
std::string without_statement_names(std::string text) {
  constexpr std::string_view kBefore = "prepared statement \"";
  const size_t at = text.find(kBefore);
  const size_t end = at == std::string::npos ? at : text.find('"', at + kBefore.size());
  return end == std::string::npos ? text : text.erase(at + kBefore.size(), end - at - kBefore.size());
}

/// What may differ between two sessions is taken out: keys, and in errors where in PostgreSQL's source they come from.
Frame comparable(const Frame& frame) {
  if (frame.type == 'K') return {'K', ""};
  if (frame.type != 'E' && frame.type != 'N') return frame;
  const auto fields = protocol::decode_error_fields(frame.body);
  if (!fields) return frame;
  std::string text;
  for (const std::string_view field : {fields->severity, fields->sqlstate, fields->message, fields->detail,
                                       fields->hint, fields->position, fields->where}) {
    text += std::string(field) + "|";
  }
  return {frame.type, without_statement_names(std::move(text))};
}

/// The messages of each step, for people.
std::string listing(const Conversation& conversation) {
  std::string text;
  for (const Step& step : conversation) {
    text += "  --\n";
    const std::string& bytes = step.messages.bytes();
    for (size_t at = 0; at + protocol::kFrameHeaderBytes <= bytes.size();) {
      const protocol::FrameHeader header = protocol::read_frame_header(bytes.data() + at);
      text += "  " + readable(Frame{header.type, bytes.substr(at + protocol::kFrameHeaderBytes, header.body_bytes())}) +
              "\n";
      at += header.frame_bytes();
    }
  }
  return text;
}

std::string listing(const std::vector<std::vector<Frame>>& answers) {
  std::string text;
  for (const auto& step : answers) {
    text += "  --\n";
    for (const Frame& frame : step) text += "  " + readable(frame) + "\n";
  }
  return text;
}

/// Reads until `complete(frame)`, or the end of the connection.
template <typename Complete>
std::vector<Frame> read_frames(RawClient& peer, Complete complete) {
  std::vector<Frame> frames;
  while (auto frame = peer.read_frame()) {
    const bool last = complete(*frame);
    frames.push_back(comparable(*frame));
    if (last) return frames;
  }
  frames.push_back({'.', "end of the connection"});
  return frames;
}

std::vector<Frame> read_until_row(RawClient& peer, const std::string& text) {
  bool row_came = false;
  return read_frames(peer, [&](const Frame& frame) {
    row_came = row_came || (frame.type == 'D' && frame.body.find(text) != std::string::npos);
    return row_came && frame.type == 'Z';
  });
}

std::vector<Frame> read_step(RawClient& peer, const Step& step) {
  if (!step.until_row.empty()) return read_until_row(peer, step.until_row);
  size_t seen = 0;
  return read_frames(peer, [&](const Frame& frame) {
    if (frame.type == step.until[seen]) seen++;
    return seen == step.until.size();
  });
}

/// All that comes before, and with, the answer to a last query.
std::vector<Frame> read_rest(RawClient& peer) {
  peer.send(Messages().query("ROLLBACK").query(std::string("SELECT '") + kTheEnd + "'").bytes());
  return read_until_row(peer, kTheEnd);
}

}  // namespace

Differential::Differential(std::map<std::string, std::string> further) {
  server_.set_hba("host all all 127.0.0.0/8 trust");
  server_.observer().run("CREATE DATABASE template_of_both");
  {
    PgConnection model = server_.superuser("template_of_both");
    model.run(kSchema);
  }
  server_.observer().run("CREATE DATABASE direct TEMPLATE template_of_both");
  server_.observer().run("CREATE DATABASE pooled TEMPLATE template_of_both");
  std::map<std::string, std::string> settings = {{"auth_type", "trust"}, {"default_pool_size", "2"}};
  for (const auto& [key, value] : further) settings[key] = value;
  bezel_ = std::make_unique<BezelProcess>(
      Configuration{.settings = settings, .databases = {{"pooled", database_at(server_)}}});
  for (const char* database : {"direct", "pooled"}) owners_.push_back(server_.superuser(database));
  other_ = std::make_unique<PgConnection>(bezel_->conninfo("", "app", "app-secret", "pooled"));
}

void Differential::empty_tables() {
  for (PgConnection& owner : owners_) {
    owner.run("SET lock_timeout = '10s'; DELETE FROM t; DELETE FROM log");
    owner.run("INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')");
  }
}

std::vector<std::vector<Frame>> Differential::hold(RawClient& peer, const Conversation& conversation, Sending sending,
                                                   const std::function<void()>& between) {
  std::vector<std::vector<Frame>> answers;
  try {
    for (const Step& step : conversation) {
      between();
      if (sending == Sending::whole) {
        peer.send(step.messages.bytes());
      } else {
        peer.send_bytewise(step.messages.bytes());
      }
      answers.push_back(read_step(peer, step));
    }
    answers.push_back(read_rest(peer));
  } catch (const std::runtime_error& error) {
    answers.push_back({{'!', error.what()}});
  }
  return answers;
}

void Differential::compare(const Conversation& conversation, const std::string& name, uint32_t seed, Sending sending) {
  empty_tables();
  RawClient direct(own_address(), server_.port());
  direct.log_in("app", "", "direct");
  const auto expected = hold(direct, conversation, Sending::whole, [] {});

  RawClient pooled(own_address(), bezel_->port());
  pooled.log_in("app", "", "pooled");
  std::mt19937 random(seed);
  bool holding = false;
  const auto disturb = [&] {
    if (random() % 2 == 0) return;
    other_->exec(holding ? "COMMIT" : "BEGIN");
    holding = !holding;
  };
  const auto got = hold(pooled, conversation, sending, disturb);
  if (holding) other_->exec("COMMIT");
  INFO("conversation: " << name << " (seed " << seed << ")");
  INFO("sent:\n" << listing(conversation));
  INFO("PostgreSQL answers:\n" << listing(expected));
  INFO("Bezel answers:\n" << listing(got));
  CHECK(expected == got);
}

}  // namespace bezel::integration
