#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pool/host_address.h"

namespace bezel::pool {

/// Where a database's servers are found out from.
enum class UpstreamSource : uint8_t {
  fixed,       ///< `static`: the hosts of the configuration
  dns,         ///< all addresses behind names, looked up again as their time to live says
  patroni,     ///< Patroni's REST interface
  kubernetes,  ///< the object in Kubernetes that is Patroni's leader lock
};

/// Kubernetes: which object holds the name of the leader.
enum class LeaderObject : uint8_t { endpoints, configmap };

/// An `upstream:` of the configuration: one cluster, and how its members are found. Databases whose upstreams are equal
/// share one follower.
struct UpstreamSettings {
  UpstreamSource source = UpstreamSource::fixed;

  /// fixed and dns: where servers are. A name without an address in dns is looked up; with port 0 it is one of SRV
  /// records, which bring the ports.
  std::vector<HostAddress> hosts;

  /// dns: a name is looked up again when its time to live is over, within these bounds. The global settings
  /// dns_max_ttl, dns_nxdomain_ttl and resolv_conf are to be put here.
  int64_t dns_min_ttl_us = 1'000'000;
  int64_t dns_max_ttl_us = 15'000'000;
  int64_t dns_nxdomain_ttl_us = 15'000'000;  ///< when it does not exist
  std::string resolv_conf;                   ///< empty: /etc/resolv.conf

  /// patroni: base addresses of some members, "http://10.0.0.1:8008". The others are learned from these.
  std::vector<std::string> urls;
  std::string ca_file, cert_file, key_file;   ///< patroni over HTTPS; empty CA: the system's
  std::string user, password;                 ///< patroni: basic authentication, only sent for what changes something
  int64_t poll_interval_us = 1'000'000;       ///< patroni: in calm
  int64_t change_poll_interval_us = 200'000;  ///< patroni: while a change is under way
  int64_t request_timeout_us = 1'500'000;     ///< patroni, kubernetes: of one request

  /// kubernetes: empty values are the pod's own.
  std::string api_url, token_file, namespace_name;
  LeaderObject leader_object = LeaderObject::endpoints;
  std::string
      cluster;  ///< the cluster's name: its leader object is `cluster` (Endpoints) or `cluster-leader` (ConfigMap)
  uint16_t port = 5432;  ///< kubernetes: PostgreSQL's on the pods

  bool operator==(const UpstreamSettings&) const = default;
};

}  // namespace bezel::pool
