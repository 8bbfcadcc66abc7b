#include "src/upstream/follower.h"

#include <utility>

#include "src/upstream/dns_follower.h"
#include "src/upstream/kubernetes_follower.h"
#include "src/upstream/patroni_follower.h"
#include "src/upstream/static_follower.h"

namespace bezel::upstream {

std::unique_ptr<Follower> make_follower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer,
                                        LogFunction log) {
  switch (settings.source) {
    case pool::UpstreamSource::fixed:
      return std::make_unique<StaticFollower>(loop, settings, observer);
    case pool::UpstreamSource::dns:
      return std::make_unique<DnsFollower>(loop, settings, observer, std::move(log));
    case pool::UpstreamSource::patroni:
      return std::make_unique<PatroniFollower>(loop, settings, observer, std::move(log));
    case pool::UpstreamSource::kubernetes:
      return std::make_unique<KubernetesFollower>(loop, settings, observer, std::move(log));
  }
  return nullptr;
}

}  // namespace bezel::upstream
