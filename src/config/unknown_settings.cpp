#include <fmt/format.h>

#include <array>
#include <utility>

#include "src/config/setting.h"
#include "src/config/spelling.h"

namespace bezel::config {

namespace {

/// Names that people bring along from PgBouncer, or guess, and what to do about each.
constexpr std::array<std::pair<std::string_view, std::string_view>, 30> kAdvice = {{
    {"conffile", "cannot be set: the configuration file is named on the command line"},
    {"database", "is called databases"},
    {"dns_zone_check_period", "is not needed: names are looked up again when their time to live is over; remove it"},
    {"include", "is called %include"},
    {"includes", "is called %include"},
    {"job_name", "is not supported: it names a Windows service"},
    {"listen_address", "is called listen_addr"},
    {"log_file", "is called logfile"},
    {"login_notify_message", "is not supported"},
    {"max_client_connections", "is called max_client_conn"},
    {"max_clients", "is called max_client_conn"},
    {"peer_id", "is not supported"},
    {"peers", "is not supported"},
    {"pgbouncer", "is not a section here: the settings stand at the top level of the file"},
    {"pid_file", "is called pidfile"},
    {"pkt_buf", "is not needed: buffers have their size by themselves; remove it"},
    {"pool_idle_timeout", "is not supported"},
    {"pool_size", "is called default_pool_size here (pool_size belongs to a database or a user)"},
    {"port", "is called listen_port"},
    {"reserve_pool", "is called reserve_pool_size"},
    {"sbuf_loopcnt", "is not needed: connections are served in turn; remove it"},
    {"scram_iterations", "is not supported"},
    {"so_reuseport", "is not needed: the workers of one process share the port; remove it"},
    {"syslog", "is not supported: the log goes to logfile or to the standard error"},
    {"syslog_facility", "is not supported: the log goes to logfile or to the standard error"},
    {"syslog_ident", "is not supported: the log goes to logfile or to the standard error"},
    {"tcp_socket_buffer", "is not supported: the kernel sizes socket buffers by itself"},
    {"track_extra_parameters", "is not needed: all parameters of a client are kept; remove it"},
    {"user", "is not supported: start the process as the user that it should run as"},
    {"verbose", "is called log_level here (error, warning, info, debug or trace)"},
}};

}  // namespace

std::string unknown_setting_message(std::string_view name) {
  for (const auto& [known, advice] : kAdvice) {
    if (known == name) return std::string(advice);
  }
  std::vector<std::string_view> names = {"databases", "users", "%include"};
  for (const Setting& setting : settings_table()) names.push_back(setting.name);
  return "unknown setting" + did_you_mean(name, names);
}

}  // namespace bezel::config
