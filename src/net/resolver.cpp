#include "src/net/resolver.h"

#include <netdb.h>
#include <uv.h>

#include <algorithm>
#include <vector>

#include "src/net/event_loop.h"

namespace bezel::net {

struct Resolver::Lookup {
  Lookup(Resolver& owner, const std::string& name, int64_t max_ttl, int64_t nxdomain_ttl)
      : resolver(owner), host(name), max_ttl_us(max_ttl), nxdomain_ttl_us(nxdomain_ttl) {
    request.data = this;
  }

  Resolver& resolver;
  std::string host;
  int64_t max_ttl_us, nxdomain_ttl_us;
  std::vector<Waiter*> waiters;
  uv_getaddrinfo_t request{};

  static void on_answer(uv_getaddrinfo_t* request, int status, addrinfo* found);
};

Resolver::Resolver(EventLoop& loop, NameCache& names) : loop_(loop), names_(names) {}

Resolver::~Resolver() = default;

namespace {

/// Whether a failure means that the name does not exist, rather than that nobody could say.
bool is_final(int status) {
  return status == UV_EAI_NONAME || status == UV_EAI_NODATA;
}

NameAnswer failure(int status) {
  return {{}, uv_strerror(status), is_final(status)};
}

NameAnswer answer_of(const addrinfo* found) {
  NameAnswer answer;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    if (one->ai_family == AF_INET || one->ai_family == AF_INET6) {
      answer.addresses.emplace_back(one->ai_addr, one->ai_addrlen);
    }
  }
  if (answer.addresses.empty()) return failure(UV_EAI_NODATA);
  return answer;
}

}  // namespace

void Resolver::Lookup::on_answer(uv_getaddrinfo_t* request, int status, addrinfo* found) {
  Lookup& lookup = *static_cast<Lookup*>(request->data);
  lookup.resolver.loop_.enter_callback();
  NameAnswer answer = status == 0 ? answer_of(found) : failure(status);
  uv_freeaddrinfo(found);
  lookup.resolver.finish(lookup, std::move(answer));
}

std::shared_ptr<const NameAnswer> Resolver::resolve(const std::string& host, int64_t max_ttl_us,
                                                    int64_t nxdomain_ttl_us, Waiter& waiter) {
  auto known = names_.find(host, loop_.now_us());
  if (known != nullptr) return known;
  auto& lookup = lookups_[host];
  if (lookup != nullptr) {
    lookup->waiters.push_back(&waiter);
    return nullptr;
  }
  lookup = std::make_unique<Lookup>(*this, host, max_ttl_us, nxdomain_ttl_us);
  lookup->waiters.push_back(&waiter);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  const int status =
      uv_getaddrinfo(loop_.uv(), &lookup->request, Lookup::on_answer, lookup->host.c_str(), nullptr, &hints);
  if (status == 0) return nullptr;
  lookups_.erase(host);
  return names_.store(host, failure(status), loop_.now_us(), max_ttl_us, nxdomain_ttl_us);
}

void Resolver::forget(const std::string& host, Waiter& waiter) {
  const auto found = lookups_.find(host);
  if (found != lookups_.end()) std::erase(found->second->waiters, &waiter);
}

void Resolver::finish(Lookup& lookup, NameAnswer answer) {
  const auto usable =
      names_.store(lookup.host, std::move(answer), loop_.now_us(), lookup.max_ttl_us, lookup.nxdomain_ttl_us);
  const std::vector<Waiter*> waiters = std::move(lookup.waiters);
  lookups_.erase(std::string(lookup.host));
  // None of them calls the pool from here, so that none is destroyed by another.
  for (Waiter* waiter : waiters) waiter->resolved(*usable);
}

void Resolver::cancel_all() {
  for (auto& [host, lookup] : lookups_) {
    lookup->waiters.clear();
    uv_cancel(reinterpret_cast<uv_req_t*>(&lookup->request));
  }
}

}  // namespace bezel::net
