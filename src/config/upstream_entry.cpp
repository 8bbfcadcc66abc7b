#include "src/config/upstream_entry.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "src/config/spelling.h"
#include "src/config/values.h"

namespace bezel::config {

namespace {

using pool::LeaderObject;
using pool::UpstreamSettings;
using pool::UpstreamSource;

constexpr size_t kHostsMax = 64;
constexpr size_t kUrlsMax = 64;
constexpr int64_t kIntervalMinUs = 50 * kMillisecondUs;
constexpr int64_t kIntervalMaxUs = 60 * kSecondUs;

enum Source : unsigned { kStatic = 1, kDns = 2, kPatroni = 4, kKubernetes = 8, kAll = 15 };

struct Keyword {
  std::string_view name;
  unsigned sources;
};
constexpr std::array<Keyword, 17> kKeywords = {{{"source", kAll},
                                                {"host", kStatic | kDns},
                                                {"port", kStatic | kDns | kKubernetes},
                                                {"urls", kPatroni},
                                                {"ca_file", kPatroni | kKubernetes},
                                                {"cert_file", kPatroni},
                                                {"key_file", kPatroni},
                                                {"user", kPatroni},
                                                {"password", kPatroni},
                                                {"poll_interval", kPatroni},
                                                {"change_poll_interval", kPatroni},
                                                {"request_timeout", kPatroni | kKubernetes},
                                                {"cluster", kKubernetes},
                                                {"leader_object", kKubernetes},
                                                {"namespace", kKubernetes},
                                                {"api_url", kKubernetes},
                                                {"token_file", kKubernetes}}};

constexpr std::array<std::pair<std::string_view, UpstreamSource>, 4> kSources = {
    {{"static", UpstreamSource::fixed},
     {"dns", UpstreamSource::dns},
     {"patroni", UpstreamSource::patroni},
     {"kubernetes", UpstreamSource::kubernetes}}};

unsigned bit_of(UpstreamSource source) {
  switch (source) {
    case UpstreamSource::fixed:
      return kStatic;
    case UpstreamSource::dns:
      return kDns;
    case UpstreamSource::patroni:
      return kPatroni;
    case UpstreamSource::kubernetes:
      return kKubernetes;
  }
  return 0;
}

bool is_url(std::string_view text) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (text.substr(0, scheme.size()) == scheme && text.size() > scheme.size()) {
      // A password in a URL would be shown with it.
      return text.find_first_of("@ \t") == std::string_view::npos;
    }
  }
  return false;
}

std::optional<std::vector<uint16_t>> read_ports(std::string_view text, bool zero_port) {
  std::vector<uint16_t> ports;
  for (const std::string& one : split_names(text)) {
    const auto port = parse_integer(one);
    if (!port || *port < (zero_port ? 0 : 1) || *port > 65535) return std::nullopt;
    ports.push_back(static_cast<uint16_t>(*port));
  }
  return ports;
}

/// A list of hosts, each with its port: `ports` is empty, one for all, or one for each; 0 is only taken where
/// `zero_port`. Nothing: it is not well-formed.
std::optional<std::vector<pool::HostAddress>> read_host_list(std::string_view hosts, std::string_view ports,
                                                             bool zero_port) {
  const auto read = read_ports(ports, zero_port);
  if (!read) return std::nullopt;
  std::vector<pool::HostAddress> addresses;
  for (std::string& host : split_names(hosts)) {
    if (host.find_first_of(" \t@") != std::string::npos) return std::nullopt;
    addresses.push_back({std::move(host)});
  }
  if (addresses.empty() || (read->size() > 1 && read->size() != addresses.size())) return std::nullopt;
  for (size_t i = 0; i < addresses.size() && !read->empty(); i++) {
    addresses[i].port = read->size() == 1 ? read->front() : (*read)[i];
  }
  return addresses;
}

class UpstreamReader {
 public:
  UpstreamReader(const std::vector<Parameter>& parameters, UpstreamSettings& upstream, std::vector<EntryError>& errors)
      : parameters_(parameters), upstream_(upstream), errors_(errors) {}

  void read(bool needs_hosts) {
    const Parameter* source = find("source");
    const auto known = std::find_if(kSources.begin(), kSources.end(),
                                    [&](const auto& one) { return source != nullptr && one.first == source->value; });
    if (known == kSources.end()) {
      errors_.push_back({"source",
                         fmt::format("expected static, dns, patroni or kubernetes, found {}",
                                     source != nullptr ? quoted(source->value) : "nothing"),
                         source != nullptr ? source->line : 0});
      return;
    }
    upstream_.source = known->second;
    for (const Parameter& parameter : parameters_) read(parameter);
    finish(needs_hosts);
  }

 private:
  const Parameter* find(std::string_view key) const {
    const auto at = std::find_if(parameters_.begin(), parameters_.end(),
                                 [&](const Parameter& parameter) { return parameter.key == key; });
    return at == parameters_.end() ? nullptr : &*at;
  }

  void fail(const Parameter& parameter, std::string message) {
    errors_.push_back({parameter.key, std::move(message), parameter.line});
  }

  void expect(const Parameter& parameter, std::string_view expected) {
    fail(parameter, fmt::format("expected {}, found {}", expected, quoted(parameter.value)));
  }

  void read(const Parameter& parameter) {
    const auto known = std::find_if(kKeywords.begin(), kKeywords.end(),
                                    [&](const Keyword& keyword) { return keyword.name == parameter.key; });
    if (known == kKeywords.end()) {
      std::vector<std::string_view> names;
      for (const Keyword& keyword : kKeywords) names.push_back(keyword.name);
      return fail(parameter, "unknown parameter" + did_you_mean(parameter.key, names));
    }
    if ((known->sources & bit_of(upstream_.source)) == 0) {
      return fail(parameter, fmt::format("means nothing where the source is {}", find("source")->value));
    }
    if (read_text(parameter) || read_interval(parameter)) return;
    if (parameter.key == "urls") return read_urls(parameter);
    if (parameter.key == "leader_object") return read_leader_object(parameter);
    if (parameter.key == "port" && upstream_.source == UpstreamSource::kubernetes) return read_port(parameter);
  }

  bool read_text(const Parameter& parameter) {
    const std::pair<std::string_view, std::string UpstreamSettings::*> texts[] = {
        {"ca_file", &UpstreamSettings::ca_file},          {"cert_file", &UpstreamSettings::cert_file},
        {"key_file", &UpstreamSettings::key_file},        {"user", &UpstreamSettings::user},
        {"password", &UpstreamSettings::password},        {"cluster", &UpstreamSettings::cluster},
        {"namespace", &UpstreamSettings::namespace_name}, {"token_file", &UpstreamSettings::token_file},
        {"api_url", &UpstreamSettings::api_url}};
    for (const auto& [name, member] : texts) {
      if (name != parameter.key) continue;
      const bool broken = parameter.value.empty() || parameter.value.find_first_of("\r\n") != std::string::npos ||
                          (name == "user" && parameter.value.find(':') != std::string::npos);
      if (broken) {
        fail(parameter, "expected a text on one line, which is not empty");
      } else if (name == "api_url" && !is_url(parameter.value)) {
        expect(parameter, "http://HOST:PORT or https://HOST:PORT");
      } else if ((name == "cluster" || name == "namespace") && !is_kubernetes_name(parameter.value)) {
        expect(parameter, "a name as Kubernetes has them (small letters, digits, '-' and '.')");
      } else {
        upstream_.*member = parameter.value;
      }
      return true;
    }
    return false;
  }

  static bool is_kubernetes_name(std::string_view name) {
    return name.size() <= 253 && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-.") == name.npos;
  }

  bool read_interval(const Parameter& parameter) {
    const std::pair<std::string_view, int64_t UpstreamSettings::*> intervals[] = {
        {"poll_interval", &UpstreamSettings::poll_interval_us},
        {"change_poll_interval", &UpstreamSettings::change_poll_interval_us},
        {"request_timeout", &UpstreamSettings::request_timeout_us}};
    for (const auto& [name, member] : intervals) {
      if (name != parameter.key) continue;
      const auto interval = parse_duration_us(parameter.value, kSecondUs);
      if (!interval || *interval < kIntervalMinUs || *interval > kIntervalMaxUs) {
        expect(parameter, "a duration from 50ms to 60s");
      } else {
        upstream_.*member = *interval;
      }
      return true;
    }
    return false;
  }

  void read_urls(const Parameter& parameter) {
    for (std::string& url : split_names(parameter.value)) {
      if (!is_url(url)) return expect(parameter, "http://HOST:PORT or https://HOST:PORT, several with commas");
      while (url.back() == '/') url.pop_back();
      upstream_.urls.push_back(std::move(url));
    }
    if (upstream_.urls.empty() || upstream_.urls.size() > kUrlsMax) {
      fail(parameter, fmt::format("expected from 1 to {} addresses, found {}", kUrlsMax, upstream_.urls.size()));
    }
  }

  void read_leader_object(const Parameter& parameter) {
    if (parameter.value == "endpoints") {
      upstream_.leader_object = LeaderObject::endpoints;
    } else if (parameter.value == "configmap") {
      upstream_.leader_object = LeaderObject::configmap;
    } else {
      expect(parameter, "endpoints or configmap");
    }
  }

  void read_port(const Parameter& parameter) {
    const auto port = parse_integer(parameter.value);
    if (!port || *port < 1 || *port > 65535) return expect(parameter, "a port number from 1 to 65535");
    upstream_.port = static_cast<uint16_t>(*port);
  }

  void finish(bool needs_hosts) {
    switch (upstream_.source) {
      case UpstreamSource::fixed:
      case UpstreamSource::dns:
        return read_hosts(needs_hosts);
      case UpstreamSource::patroni:
        if (find("urls") == nullptr) errors_.push_back({"urls", "expected the address of at least one member", 0});
        if ((find("cert_file") == nullptr) != (find("key_file") == nullptr)) {
          errors_.push_back({"cert_file", "expected along with key_file", 0});
        }
        if ((find("user") == nullptr) != (find("password") == nullptr)) {
          errors_.push_back({"user", "expected along with password", 0});
        }
        return;
      case UpstreamSource::kubernetes:
        if (find("cluster") == nullptr) errors_.push_back({"cluster", "expected the cluster's name", 0});
        return;
    }
  }

  void read_hosts(bool needs_hosts) {
    const Parameter* host = find("host");
    const Parameter* port = find("port");
    if (host == nullptr) {
      if (needs_hosts) errors_.push_back({"host", "expected the servers' hosts", 0});
      if (port != nullptr) fail(*port, "expected along with a host");
      return;
    }
    const bool zero_port = upstream_.source == UpstreamSource::dns;
    auto hosts = read_host_list(host->value, port != nullptr ? port->value : "", zero_port);
    if (!hosts || hosts->size() > kHostsMax) {
      return expect(*host, fmt::format("from 1 to {} names or addresses with commas between them, and one port for all "
                                       "or one for each",
                                       kHostsMax));
    }
    upstream_.hosts = std::move(*hosts);
  }

  const std::vector<Parameter>& parameters_;
  UpstreamSettings& upstream_;
  std::vector<EntryError>& errors_;
};

}  // namespace

std::vector<EntryError> read_upstream(const std::vector<Parameter>& parameters, bool needs_hosts,
                                      UpstreamSettings& upstream) {
  std::vector<EntryError> errors;
  UpstreamReader(parameters, upstream, errors).read(needs_hosts);
  return errors;
}

bool upstream_list_parameter(std::string_view name) {
  return name == "host" || name == "port" || name == "urls";
}

bool upstream_file_parameter(std::string_view name) {
  return name == "ca_file" || name == "cert_file" || name == "key_file" || name == "token_file";
}

const std::vector<EntryKeyword>& upstream_keywords() {
  static const std::vector<EntryKeyword> kDocumented = {
      {"source",
       "`static`: the hosts are given here; `dns`: all addresses behind names; `patroni`: Patroni's REST interface; "
       "`kubernetes`: Patroni's leader object, watched with the pod's service account."},
      {"host",
       "`static`, `dns`: the hosts, with commas between them or as a list. Without any, the database's own `host`."},
      {"port",
       "`static`, `dns`: one for all hosts, or one for each, `5432` without any; in `dns` a port of `0` says that the "
       "name is one of SRV records, which bring the ports. `kubernetes`: the port of the pods, where the object names "
       "none."},
      {"urls",
       "`patroni`: addresses of some members, `http://10.0.0.1:8008`, with commas between them or as a list. The other "
       "members are learned from them."},
      {"ca_file",
       "`patroni`, `kubernetes`: the certificates that sign the server's. Without one: the system's, or the service "
       "account's."},
      {"cert_file", "`patroni`: the client's certificate, where Patroni asks for one."},
      {"key_file", "`patroni`: the key of `cert_file`."},
      {"user", "`patroni`: for basic authentication, sent only with requests that change something (SWITCHOVER)."},
      {"password", "`patroni`: the password of `user`."},
      {"poll_interval", "`patroni`: how often a member is asked while all is calm. Default: `1s`."},
      {"change_poll_interval", "`patroni`: how often while a change of the primary is under way. Default: `200ms`."},
      {"request_timeout", "`patroni`, `kubernetes`: how long an answer may take. Default: `1.5s`."},
      {"cluster", "`kubernetes`: the cluster's name, as Patroni and the operator have it."},
      {"leader_object",
       "`kubernetes`: where Patroni keeps its leader lock: `endpoints` (the default) or `configmap` "
       "(`PATRONI_KUBERNETES_USE_ENDPOINTS: false`)."},
      {"namespace", "`kubernetes`: where the cluster is. Without one: the pod's own."},
      {"api_url", "`kubernetes`: the API server. Without one: the pod's own."},
      {"token_file", "`kubernetes`: the file of the service account's token. Without one: the pod's own."},
  };
  return kDocumented;
}

}  // namespace bezel::config
