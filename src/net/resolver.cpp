#include "src/net/resolver.h"

#include <utility>
#include <vector>

#include "src/net/deadline.h"
#include "src/net/event_loop.h"

namespace bezel::net {

/// Its deadline is the patience of those who could be told an older answer.
struct Resolver::Lookup final : private Deadline {
  Lookup(EventLoop& loop, const NameTtls& its_ttls, std::shared_ptr<const NameAnswer> known)
      : ttls(its_ttls), older(std::move(known)) {
    if (older != nullptr) arm(loop.deadlines(), loop.now_us() + kPatienceUs);
  }

  NameTtls ttls;
  std::shared_ptr<const NameAnswer> older;  ///< addresses that are too old; null: there are none
  bool is_late = false;
  std::vector<Waiter*> waiters;

  void expire() override {
    is_late = true;
    tell(*this, *older);
  }
};

namespace {

NameAnswer answer_of(const dns::Answer& answer) {
  NameAnswer result;
  result.addresses = answer.addresses;
  result.error = answer.error;
  result.is_final_failure = answer.failure == dns::Answer::Failure::final;
  if (answer.ttl_s != dns::Answer::kNoTtl) result.ttl_us = int64_t{answer.ttl_s} * 1'000'000;
  return result;
}

}  // namespace

Resolver::Resolver(EventLoop& loop, NameCache& names) : loop_(loop), names_(names) {}

Resolver::~Resolver() = default;

std::shared_ptr<const NameAnswer> Resolver::resolve(const std::string& host, const Options& options, Waiter& waiter) {
  auto known = names_.find(host, loop_.now_us());
  if (known != nullptr) return known;
  if (closed_) return std::make_shared<const NameAnswer>(NameAnswer{.error = "the event loop ends"});
  auto& lookup = lookups_[host];
  if (lookup != nullptr) {
    if (lookup->is_late) return lookup->older;
    lookup->waiters.push_back(&waiter);
    return nullptr;
  }
  lookup = std::make_unique<Lookup>(loop_, options.ttls, names_.find_stale(host));
  lookup->waiters.push_back(&waiter);
  if (client_ == nullptr) client_ = std::make_unique<dns::Client>(loop_.uv());
  client_->find_addresses(options.sources, host, [this, host](const dns::Answer& answer) { finish(host, answer); });
  return nullptr;
}

void Resolver::forget(const std::string& host, Waiter& waiter) {
  const auto found = lookups_.find(host);
  if (found != lookups_.end()) std::erase(found->second->waiters, &waiter);
}

void Resolver::finish(const std::string& host, const dns::Answer& answer) {
  loop_.enter_callback();
  const std::unique_ptr<Lookup> lookup = std::move(lookups_.extract(host).mapped());
  tell(*lookup, *names_.store(host, answer_of(answer), loop_.now_us(), lookup->ttls));
}

void Resolver::tell(Lookup& lookup, const NameAnswer& answer) {
  for (Waiter* waiter : std::exchange(lookup.waiters, {})) waiter->resolved(answer);
}

void Resolver::close() {
  closed_ = true;
  lookups_.clear();
  client_.reset();
}

}  // namespace bezel::net
