#include "src/dns/client.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <utility>

#include "src/dns/ares_channel.h"
#include "src/dns/hosts_file.h"
#include "src/dns/resolv_conf.h"

namespace bezel::dns {
namespace {

constexpr const char* kSystemResolvConf = "/etc/resolv.conf";
/// What is read of a file. Nobody has more; a file that somebody broke must not stop the loop.
constexpr size_t kFileBytesMax = 1 << 20;

/// "" or why the file cannot be read.
std::string read_text(const std::string& path, std::string& text) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return fmt::format("could not read {}: {}", path, std::strerror(errno));
  text.resize(kFileBytesMax);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(0, file.gcount())));
  text.shrink_to_fit();
  return {};
}

std::string this_machine() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0) return {};
  return name;
}

/// What a question's end means for the lookup.
enum class Verdict {
  found,
  absent,   ///< this name does not exist, or has no such records: on to the next candidate
  trouble,  ///< a server fails or refuses. On to the next candidate all the same, as libc does: there are servers that
            ///< fail for search domains which they do not know. c-ares says so of servers that cannot be reached too.
  stop,     ///< nobody answers: the next candidate might be another host, found only because this one was not
};

Verdict verdict_of(int status) {
  switch (status) {
    case ARES_SUCCESS:
      return Verdict::found;
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
    case ARES_EBADNAME:
      return Verdict::absent;
    case ARES_EFORMERR:
    case ARES_ESERVFAIL:
    case ARES_ENOTIMP:
    case ARES_EREFUSED:
    case ARES_EBADRESP:
    case ARES_ECONNREFUSED:
      return Verdict::trouble;
    default:
      return Verdict::stop;
  }
}

std::string error_text(int status) {
  switch (status) {
    case ARES_ENOTFOUND:
      return "the name does not exist";
    case ARES_ENODATA:
      return "the name has no such records";
    case ARES_EBADNAME:
      return "this is no name";
    case ARES_ETIMEOUT:
      return "the DNS servers do not answer";
    case ARES_EBADRESP:
      return "the answer is malformed";
    default:
      return verdict_of(status) == Verdict::trouble ? "the DNS servers fail, or cannot be reached"
                                                    : ares_strerror(status);
  }
}

}  // namespace

/// Lookups that share a channel.
struct Client::Batch {
  Batch(uv_loop_t* loop, Sources its_sources, ResolvConf its_conf)
      : sources(std::move(its_sources)), conf(std::move(its_conf)), began_ms(uv_now(loop)), channel(loop, conf) {}

  Sources sources;
  ResolvConf conf;
  uint64_t began_ms;
  size_t lookups = 0;
  AresChannel channel;
};

struct Client::Lookup {
  Client& client;
  Done done;
  std::vector<RecordType> types = {};
  Batch* batch = nullptr;
  std::vector<std::string> candidates = {};
  size_t next = 0;
  size_t waiting = 0;
  Answer answer = {};  ///< of the candidate that is asked for
  bool stopped = false;
  int absence = ARES_ENOTFOUND;  ///< "no data" if any candidate exists
  int trouble = ARES_SUCCESS;
  bool finished = false;

  void ask_next();
  void take(RecordType type, int status, std::string_view reply);
  void conclude();
};

void Client::Lookup::ask_next() {
  const std::string name = candidates[next++];
  answer = {};
  waiting = types.size();  // before the first question, whose answer may come at once
  for (const RecordType type : types) {
    batch->channel.query(name, type, [this, type](int status, std::string_view reply) { take(type, status, reply); });
  }
}

void Client::Lookup::take(RecordType type, int status, std::string_view reply) {
  if (status == ARES_SUCCESS && !read_reply(reply, type, answer)) status = ARES_EBADRESP;
  switch (verdict_of(status)) {
    case Verdict::found:
      absence = ARES_ENODATA;  // unless records were found
      break;
    case Verdict::absent:
      if (status != ARES_ENOTFOUND) absence = status;
      break;
    case Verdict::stop:
      stopped = true;
      trouble = status;
      break;
    case Verdict::trouble:
      if (!stopped) trouble = status;
      break;
  }
  if (--waiting == 0) conclude();
}

void Client::Lookup::conclude() {
  // One family of addresses is enough, even if nobody could tell the other one.
  if (!answer.addresses.empty() || !answer.services.empty()) {
    put_in_order(answer);
    return client.finish(*this, std::move(answer));
  }
  if (!stopped && next < candidates.size()) return ask_next();
  const bool is_final = trouble == ARES_SUCCESS;
  client.finish(*this, Answer::failed(is_final ? Answer::Failure::final : Answer::Failure::passing,
                                      error_text(is_final ? absence : trouble)));
}

Client::Client(uv_loop_t* loop) : loop_(loop), soon_(new uv_timer_t) {
  uv_timer_init(loop, soon_);
  soon_->data = this;
}

Client::~Client() {
  *alive_ = false;
  batches_.clear();
  uv_close(reinterpret_cast<uv_handle_t*>(soon_),
           [](uv_handle_t* handle) { delete reinterpret_cast<uv_timer_t*>(handle); });
}

void Client::find_addresses(const Sources& sources, const std::string& name, Done done) {
  Lookup& lookup = add(std::move(done));
  if (const auto literal = net::SocketAddress::from_literal(name, 0)) {
    Answer answer;
    answer.addresses.push_back(*literal);
    return finish(lookup, std::move(answer));
  }
  std::string hosts;
  read_text(sources.hosts_file, hosts);  // none is as good as an empty one
  if (auto known = find_in_hosts(hosts, name)) return finish(lookup, std::move(*known));
  lookup.types = {RecordType::a, RecordType::aaaa};
  ask(lookup, sources, name);
}

void Client::find_services(const Sources& sources, const std::string& name, Done done) {
  Lookup& lookup = add(std::move(done));
  lookup.types = {RecordType::srv};
  ask(lookup, sources, name);
}

Client::Lookup& Client::add(Done done) {
  return *lookups_.emplace_back(new Lookup{.client = *this, .done = std::move(done)});
}

void Client::ask(Lookup& lookup, const Sources& sources, const std::string& name) {
  if (name.empty() || name == ".") {
    return finish(lookup, Answer::failed(Answer::Failure::final, error_text(ARES_EBADNAME)));
  }
  std::string why;
  lookup.batch = batch_for(sources, why);
  if (lookup.batch == nullptr) return finish(lookup, Answer::failed(Answer::Failure::passing, std::move(why)));
  lookup.batch->lookups++;
  lookup.candidates = lookup.batch->conf.candidates(name);
  lookup.ask_next();
}

Client::Batch* Client::batch_for(const Sources& sources, std::string& why) {
  for (const auto& batch : batches_) {
    if (batch->sources == sources && uv_now(loop_) - batch->began_ms < kBatchMs) return batch.get();
  }
  std::string text;
  why = read_text(sources.resolv_conf.empty() ? kSystemResolvConf : sources.resolv_conf, text);
  if (!why.empty() && !sources.resolv_conf.empty()) return nullptr;
  return batches_.emplace_back(std::make_unique<Batch>(loop_, sources, ResolvConf::parse(text, this_machine()))).get();
}

void Client::finish(Lookup& lookup, Answer answer) {
  lookup.answer = std::move(answer);
  lookup.finished = true;
  // Not from here: c-ares may be at work further up, and so may who has asked.
  uv_timer_start(
      soon_, [](uv_timer_t* timer) { static_cast<Client*>(timer->data)->deliver(); }, 0, 0);
}

void Client::deliver() {
  const auto first =
      std::stable_partition(lookups_.begin(), lookups_.end(), [](const auto& lookup) { return !lookup->finished; });
  std::vector<std::unique_ptr<Lookup>> finished(std::make_move_iterator(first),
                                                std::make_move_iterator(lookups_.end()));
  lookups_.erase(first, lookups_.end());
  for (const auto& lookup : finished) {
    if (lookup->batch != nullptr) lookup->batch->lookups--;
  }
  std::erase_if(batches_, [](const auto& batch) { return batch->lookups == 0; });
  const std::shared_ptr<bool> alive = alive_;
  for (const auto& lookup : finished) {
    lookup->done(lookup->answer);
    if (!*alive) return;
  }
}

}  // namespace bezel::dns
