#include "src/upstream/follower.h"

#include <utility>

#include "src/upstream/dns_follower.h"
#include "src/upstream/static_follower.h"

namespace bezel::upstream {

std::unique_ptr<Follower> make_follower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer,
                                        [[maybe_unused]] LogFunction log) {
  switch (settings.source) {
    case pool::UpstreamSource::fixed:
      return std::make_unique<StaticFollower>(loop, settings, observer);
    case pool::UpstreamSource::dns:
      return std::make_unique<DnsFollower>(loop, settings, observer, std::move(log));
    case pool::UpstreamSource::patroni:
    case pool::UpstreamSource::kubernetes:
      break;
  }
  return nullptr;
}

}  // namespace bezel::upstream
