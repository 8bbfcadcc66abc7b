#include "src/config/documentation.h"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>
#include <vector>

#include "src/config/database_entry.h"
#include "src/config/setting.h"
#include "src/config/upstream_entry.h"
#include "src/config/values.h"

namespace bezel::config {

namespace {

constexpr std::string_view kIntroduction = R"(# Configuration

<!-- Made by `bezel --print-configuration-docs` from the table of settings in src/config/settings_table.cpp. -->

Bezel is configured by one YAML file, which it is given on the command line. The settings stand at the top level of the
file, under the names that they have in PgBouncer; `databases:`, `users:` and `upstream:` are maps below them.

```sh
bezel --check-config bezel.yaml   # says all that is wrong with a file, each with its file and line
bezel bezel.yaml
```

A key that is not known, a key that comes twice, and a value that cannot be right are errors: Bezel does not start with
them, and nothing in the file is ignored. What is allowed and yet hardly meant is a warning in the log.

The file is read again at SIGHUP and by the console's `RELOAD`. A reload is all or nothing: with any error in the files
everything stays as it was. Connections are kept. Settings that need a restart keep their running values, and the log
names those that would be different. Some settings can also be changed by the console's `SET name = value`, until the
next reload.

## How values are written

| type | written |
|---|---|
| boolean | `1`, `yes`, `true` or `on`; `0`, `no`, `false` or `off` |
| number | decimal digits |
| duration | a number and a unit: `100us`, `250ms`, `5s`, `10min` or `10m`, `2h`, `1d`; decimals are allowed: `0.5s`. A number alone counts seconds, as in PgBouncer, where a setting says nothing else |
| size | bytes, or a number and a unit: `64kB`, `1MB`, `1GB`. The units are powers of 1024, as in PostgreSQL, also when written `KiB`, `MiB`, `GiB` |
| names | a YAML list, or one text with commas between the names |
| file | a file's name. A relative one is meant from the folder of the configuration file that says so |

`SHOW CONFIG` prints values as PgBouncer does: durations as numbers, booleans as 0 and 1, `unix_socket_mode` in octal.

### Environment variables

In any value `${NAME}` is replaced by the environment variable of that name, and `${NAME:-default}` by `default` when the
variable is unset or empty. A variable that is not set and has no default is an error. `$${` stands for `${` itself.

A variable fills the value in which it stands and nothing more: whatever it holds, it cannot add settings to the file, nor
parameters to a connection string. There is one exception, for whole connection strings: an entry of `databases:` that is one
`${NAME}` and nothing else is read as a connection string once it has been replaced.

### Includes

`%include:` takes the name of a file, or a list of names, and adds what is in these files. A relative name is meant from the
folder of the including file.

* What the including file itself says comes before what its includes say: a setting, or a whole entry of
  `databases:` or `users:`.
* Files that are included side by side must not both set the same thing: that is an error, whatever their order.
* Includes may include further files, up to 10 deep and 200 in all. A file that includes itself is an error.

```yaml
%include:
  - databases.yaml
  - /etc/bezel/limits.yaml
default_pool_size: 40
```

)";

constexpr std::string_view kDatabases = R"(## Databases

`databases:` says which databases clients may ask for, and where each is. The key is the name that clients use. `*`
stands for every name that has no entry of its own. `pgbouncer` and `bezel` are reserved: they are the console.

An entry is a connection string or URI as for libpq, or a map of the same parameters:

```yaml
databases:
  app: host=10.0.0.5 port=5433 user=app password='it''s' pool_size=40
  reports: postgres://report:${REPORT_PASSWORD}@db.example/reports?pool_mode=session
  orders:
    host: [10.0.0.5, 10.0.0.6]
    port: 5432
    dbname: orders_v2
    pool_size: 10
  whole: ${WHOLE_DATABASE_URL}
  "*": host=/var/run/postgresql
```

In a connection string a value with spaces stands in single quotes; inside, `''` or `\'` is a quote and `\\` a
backslash. In a URI, special characters are written as `%` and two hex digits. URIs are read by libpq itself. A variable needs
no quoting: `${NAME}` is replaced after the string has been taken apart.

libpq's defaults have no part in this: no `PG*` variable, no password file, no service file. A parameter that libpq knows
and a pool cannot honour is an error, never ignored.

)";

constexpr std::string_view kUpstream = R"(
## Upstream

`upstream:` says how the primary of a cluster, and its replicas, are found and followed. In an entry of `databases:` it is that
database's; at the top level it is for every database that has neither an `upstream` nor a `host` of its own.
[failover.md](failover.md) says what comes of it.

```yaml
upstream:
  source: patroni
  urls: [http://10.0.0.1:8008, http://10.0.0.2:8008]

databases:
  shop:
  shop_ro: {dbname: shop, role: replica, max_replica_lag: 16MB, fallback_to_primary: yes}
  events:
    upstream: {source: kubernetes, cluster: events-db}
  reports: host=10.0.0.7,10.0.0.8 target_session_attrs=read-write
  billing:
    upstream: {source: dns, host: billing-primary.example}
```

)";

constexpr std::string_view kUsers = R"(
## Users

`users:` sets limits and modes for single users. It does not make users: their names and secrets come from
`auth_file`. An entry is a map, or a text such as `pool_mode=session pool_size=5`.

```yaml
users:
  report:
    pool_mode: session
    query_timeout: 10min
```

)";

constexpr std::string_view kErrors = R"(
## Errors

Each error is one line: the file, the line in it, the key, what was expected, and what was found. All errors of a
configuration are reported together, up to 50. Passwords are never shown.

```text
bezel.yaml:3: listen_prt: unknown setting; did you mean "listen_port"?
bezel.yaml:4: query_timeout: expected a duration such as 5s, 250ms or 10min (a plain number counts seconds), at most 315360000 seconds; found '5 parsecs'
bezel.yaml:9: databases.app.port: expected a port number from 1 to 65535, found '54321098'
```

)";

constexpr std::string_view kExampleHeading = R"(## A complete example

This is `docs/examples/bezel.yaml`.

```yaml
)";

constexpr std::string_view kExample = R"(# A pooler for one application and its reports.
listen_addr: "*"
listen_port: 6432
unix_socket_dir: ""

auth_type: scram-sha-256
auth_file: userlist.txt
admin_users: [operator]
stats_users: [operator, monitoring]

pool_mode: transaction
max_client_conn: ${MAX_CLIENT_CONN:-1000}
default_pool_size: 25
min_pool_size: 5
reserve_pool_size: 5
reserve_pool_timeout: 3s
max_db_connections: 100

server_idle_timeout: 10min
server_lifetime: 1h
query_wait_timeout: 2min
idle_transaction_timeout: 5min
tcp_keepidle: 30s
tcp_user_timeout: 10s

metrics_addr: "*"
metrics_port: 9127
log_level: info

databases:
  # Each user logs in to the server as itself.
  app: host=${DB_HOST:-127.0.0.1} port=5432
  # Everybody is `report` on the server, in a pool of its own.
  reports:
    host: [10.0.0.6, 10.0.0.7]
    dbname: app
    user: report
    pool_size: 5
    pool_mode: session
    application_name: reports
  # Every other name.
  "*": postgresql://10.0.0.5:5432/?pool_size=10&max_db_connections=20

users:
  report:
    query_timeout: 30min
)";

constexpr std::array<std::pair<Section, std::string_view>, 8> kSections = {
    {{Section::listening, "Listening and threads"},
     {Section::login, "Login"},
     {Section::pooling, "Pooling"},
     {Section::servers, "Servers"},
     {Section::timeouts, "Timeouts"},
     {Section::tcp, "TCP"},
     {Section::tls, "TLS"},
     {Section::logs, "Logs, statistics, metrics"}}};

std::string type_of(const Setting& setting) {
  if (std::holds_alternative<TextKind>(setting.kind)) {
    const std::string_view expected = std::get<TextKind>(setting.kind).expected;
    return std::string(expected);
  }
  return expected_value(setting);
}

std::string default_of(const Setting& setting) {
  const std::string value = format_value(pool::Settings(), setting);
  if (value.empty()) return "empty";
  const auto* duration = std::get_if<DurationKind>(&setting.kind);
  if (duration == nullptr || value == "0") return fmt::format("`{}`", value);
  return fmt::format("`{}` ({})", value, duration->unit_us == kMillisecondUs ? "milliseconds" : "seconds");
}

std::string_view change_of(const Setting& setting) {
  switch (setting.change) {
    case Change::at_runtime:
      return "at a reload, or by `SET`";
    case Change::at_reload:
      return "at a reload";
    case Change::at_restart:
      break;
  }
  return "at a restart only";
}

void append_setting(std::string& page, const Setting& setting) {
  page += fmt::format("### {}\n\n{}\n\n", setting.name, setting.documentation);
  page += fmt::format("* Value: {}\n* Default: {}\n* Changes take effect: {}\n\n", type_of(setting),
                      default_of(setting), change_of(setting));
}

void append_settings(std::string& page) {
  for (const auto& [section, heading] : kSections) {
    page += fmt::format("## {}\n\n", heading);
    for (const Setting& setting : settings_table()) {
      if (setting.section == section) append_setting(page, setting);
    }
  }
}

void append_keywords(std::string& page, const std::vector<EntryKeyword>& keywords) {
  page += "| parameter | meaning |\n|---|---|\n";
  for (const EntryKeyword& keyword : keywords)
    page += fmt::format("| `{}` | {} |\n", keyword.name, keyword.documentation);
}

}  // namespace

std::string configuration_markdown() {
  std::string page(kIntroduction);
  append_settings(page);
  page += kDatabases;
  append_keywords(page, database_keywords());
  page += kUpstream;
  append_keywords(page, upstream_keywords());
  page += kUsers;
  append_keywords(page, user_keywords());
  page += kErrors;
  page += kExampleHeading;
  page += kExample;
  page += "```\n";
  return page;
}

}  // namespace bezel::config
