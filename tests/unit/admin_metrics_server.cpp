#include <arpa/inet.h>
#include <civetweb.h>
#include <doctest/doctest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "src/metrics_server/metrics_server.h"
#include "tests/unit/admin_fakes.h"

using namespace bezel;
using namespace bezel::admin;
using namespace bezel::admin::fakes;
using bezel::program::MetricsServer;

namespace {

int connect_to(uint16_t port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  REQUIRE(fd >= 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
  return fd;
}

/// Sends a request and reads until the server closes.
std::string exchange(uint16_t port, const std::string& request) {
  const int fd = connect_to(port);
  REQUIRE(::send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()));
  std::string response;
  char buffer[4096];
  for (ssize_t size = 0; (size = read(fd, buffer, sizeof(buffer))) > 0;)
    response.append(buffer, static_cast<size_t>(size));
  close(fd);
  return response;
}

struct ServerFixture {
  FakeFleet fleet;
  FakeProgram program;
  Metrics metrics{fleet, program};
  MetricsServer server{"127.0.0.1", 0, metrics, program};

  std::string ask(const std::string& method, const std::string& path) const {
    return exchange(server.port(), method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
  }
};

std::string status_of(const std::string& response) {
  return response.substr(0, response.find("\r\n"));
}
std::string body_of(const std::string& response) {
  const size_t end = response.find("\r\n\r\n");
  return end == std::string::npos ? "(no body)" : response.substr(end + 4);
}

}  // namespace

TEST_CASE("metrics server: what it serves") {
  ServerFixture fixture;
  fixture.fleet.registry.add_pool("app", "u", 0)->queries.add(7);
  CHECK(status_of(fixture.ask("GET", "/healthz")) == "HTTP/1.1 200 OK");
  CHECK(body_of(fixture.ask("GET", "/healthz")) == "ok\n");
  const std::string metrics = fixture.ask("GET", "/metrics");
  CHECK(metrics.find("Content-Type: text/plain; version=0.0.4") != std::string::npos);
  CHECK(body_of(metrics).find("bezel_queries_total{database=\"app\",user=\"u\"} 7\n") != std::string::npos);
  CHECK(status_of(fixture.ask("GET", "/metrics?x=1")) == "HTTP/1.1 200 OK");
  const std::string head = fixture.ask("HEAD", "/metrics");
  CHECK(status_of(head) == "HTTP/1.1 200 OK");
  CHECK(body_of(head).empty());
  for (const char* path : {"/", "/etc/passwd", "/metrics/", "/../etc/passwd"}) {
    CAPTURE(path);
    CHECK(status_of(fixture.ask("GET", path)) == "HTTP/1.1 404 Not Found");
  }
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS"}) {
    CAPTURE(method);
    const std::string response = fixture.ask(method, "/metrics");
    CHECK(status_of(response) == "HTTP/1.1 405 Method Not Allowed");
    CHECK(response.find("Allow: GET, HEAD\r\n") != std::string::npos);
  }
}

TEST_CASE("metrics server: readiness says why not, and liveness does not care") {
  ServerFixture fixture;
  CHECK(status_of(fixture.ask("GET", "/readyz")) == "HTTP/1.1 200 OK");
  fixture.program.reason = "shutting down";
  const std::string response = fixture.ask("GET", "/readyz");
  CHECK(status_of(response) == "HTTP/1.1 503 Service Unavailable");
  CHECK(body_of(response) == "shutting down\n");
  CHECK(status_of(fixture.ask("GET", "/healthz")) == "HTTP/1.1 200 OK");
}

TEST_CASE("metrics server: nonsense does it no harm") {
  ServerFixture fixture;
  exchange(fixture.server.port(), "\r\n\r\n");
  exchange(fixture.server.port(), std::string("\0\0\0\x08\x04\xd2\x16\x2f", 8) + "\r\n\r\n");
  exchange(fixture.server.port(), "GET /metrics\r\n\r\n");
  exchange(fixture.server.port(), "GET / HTTP/1.1\r\nX: " + std::string(20000, 'x') + "\r\n\r\n");
  CHECK(status_of(fixture.ask("GET", "/healthz")) == "HTTP/1.1 200 OK");
}

TEST_CASE("metrics server: one that says nothing does not block the others") {
  ServerFixture fixture;
  const int silent = connect_to(fixture.server.port());
  CHECK(status_of(fixture.ask("GET", "/healthz")) == "HTTP/1.1 200 OK");
  close(silent);
}

TEST_CASE("metrics server: many at once") {
  ServerFixture fixture;
  std::vector<std::thread> threads;
  std::atomic<int> answered{0};
  for (int i = 0; i < 8; i++)
    threads.emplace_back([&] {
      for (int j = 0; j < 5; j++)
        if (status_of(fixture.ask("GET", "/metrics")) == "HTTP/1.1 200 OK") answered++;
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(answered == 40);
}

TEST_CASE("metrics server: a port that is taken is an error that names it") {
  ServerFixture fixture;
  const std::string place = "127.0.0.1:" + std::to_string(fixture.server.port());
  std::string message;
  try {
    const MetricsServer second("127.0.0.1", fixture.server.port(), fixture.metrics, fixture.program);
  } catch (const std::runtime_error& error) {
    message = error.what();
  }
  CHECK(message.find("cannot serve metrics on " + place + ": ") == 0);
  CHECK(message.find("Address already in use") != std::string::npos);
}

TEST_CASE("metrics server: forms of an address") {
  FakeFleet fleet;
  FakeProgram program;
  Metrics metrics(fleet, program);
  for (const char* address : {"*", "", "localhost", "0.0.0.0"}) {
    CAPTURE(address);
    const MetricsServer server(address, 0, metrics, program);
    CHECK(server.port() != 0);
  }
  // Whether there is IPv6 depends on how civetweb was built; if there is none, that is said.
  for (const char* address : {"::1", "[::1]"}) {
    std::string message;
    try {
      const MetricsServer server(address, 0, metrics, program);
      CHECK(server.port() != 0);
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    const bool refused =
        message == "cannot serve metrics on [::1]:0: the HTTP library (civetweb) was built without IPv6";
    CHECK(refused == !mg_check_feature(MG_FEATURES_IPV6));
  }
  CHECK_THROWS_AS(MetricsServer("no such address", 0, metrics, program), std::runtime_error);
}

TEST_CASE("metrics server: its threads leave signals to the others") {
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  const ServerFixture fixture;
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1})
    CHECK(sigismember(&before, signal) == sigismember(&after, signal));
}
