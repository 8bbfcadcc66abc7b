// The HTTP port: what Prometheus reads agrees with the traffic, and health says what is.

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"
#include "integration/waiting.h"

using namespace bezel::integration;

namespace {

struct Pooler {
  uint16_t http_port = next_port();
  BezelProcess bezel{
      {.settings = {
           {"metrics_addr", own_address()}, {"metrics_port", std::to_string(http_port)}, {"default_pool_size", "2"}}}};

  /// Status line, headers and body.
  std::string get(const std::string& path, const std::string& method = "GET") const {
    RawClient client(own_address(), http_port);
    client.send(method + " " + path + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
    std::string text;
    while (const auto byte = client.read_byte()) text += *byte;
    return text;
  }
  int status(const std::string& path, const std::string& method = "GET") const {
    return std::stoi(get(path, method).substr(9, 3));
  }
  /// A series' value, by its name with labels; -1 if it is not there.
  double value(const std::string& series) const {
    const std::string text = get("/metrics");
    const size_t at = text.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + series.size() + 2));
  }
};

}  // namespace

TEST_CASE("metrics agree with the traffic") {
  Pooler pooler;
  PgConnection first = pooler.bezel.connect(), second = pooler.bezel.connect();
  for (int i = 0; i < 20; i++) first.run("SELECT 1");
  first.run("BEGIN; SELECT 1");
  first.run("COMMIT");
  CHECK(second.prepare("s", "SELECT $1::int").ok());
  for (int i = 0; i < 5; i++) CHECK(second.exec_prepared("s", {"1"}).ok());
  second.run("BEGIN");
  const std::string labels = "{database=\"app\",user=\"app\"}";
  CHECK(pooler.value("bezel_queries_total" + labels) == 20 + 2 + 1 + 5 + 1);
  CHECK(pooler.value("bezel_transactions_total" + labels) == 20 + 1 + 1 + 5);
  CHECK(pooler.value("bezel_client_parses_total" + labels) == 1);
  CHECK(pooler.value("bezel_binds_total" + labels) == 5);
  CHECK(pooler.value("bezel_server_logins_total" + labels) >= 1);
  CHECK(pooler.value("bezel_pool_servers{database=\"app\",user=\"app\",state=\"active\"}") == 1);
  CHECK(pooler.value("bezel_sent_bytes_total" + labels) > 1000);
  CHECK(pooler.value("bezel_database_current_client_connections{database=\"app\"}") == 2);
  second.run("COMMIT");
  CHECK_FALSE(PgConnection(pooler.bezel.conninfo("", "app", "wrong")).connected());
  double failed = 0;
  for (const char* worker : {"0", "1"})
    failed += pooler.value("bezel_failed_logins_total{worker=\"" + std::string(worker) + "\"}");
  CHECK(failed == 1);
}

TEST_CASE("health and readiness") {
  Pooler pooler;
  CHECK(pooler.status("/healthz") == 200);
  CHECK(pooler.status("/readyz") == 200);
  CHECK(pooler.status("/nothing") == 404);
  CHECK(pooler.status("/metrics", "POST") == 405);
  PgConnection console = pooler.bezel.console();
  console.run("SUSPEND");
  CHECK(pooler.status("/healthz") == 200);
  CHECK(pooler.status("/readyz") == 503);
  console.run("RESUME");
  CHECK(pooler.status("/readyz") == 200);
  PgConnection client = pooler.bezel.connect();
  CHECK(console.exec("SHUTDOWN WAIT_FOR_CLIENTS").ok());
  wait_until("it is not ready any more", [&] { return pooler.status("/readyz") == 503; });
  CHECK(pooler.status("/healthz") == 200);
}

TEST_CASE("what is no HTTP does no harm") {
  Pooler pooler;
  for (const std::string& bytes :
       {std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8), std::string("GET"), std::string(100'000, 'A')}) {
    RawClient client(own_address(), pooler.http_port);
    client.send(bytes);
    client.shut_down_sending();
    while (client.read_byte()) {
    }
  }
  CHECK(pooler.status("/healthz") == 200);
}
