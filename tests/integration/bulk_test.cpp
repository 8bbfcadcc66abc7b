// Much data through little memory.

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <vector>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/messages.h"
#include "integration/postgres_server.h"
#include "integration/raw_client.h"

using namespace bezel::integration;

namespace {

constexpr uint64_t kMegabyte = 1024 * 1024;
/// What all of a transfer may cost, however large it is.
#ifdef BEZEL_SANITIZED
constexpr uint64_t kGrowthMax = 64 * kMegabyte;
constexpr uint64_t kClientBytesMax = 64 * 1024;
#else
constexpr uint64_t kGrowthMax = 8 * kMegabyte;
constexpr uint64_t kClientBytesMax = 4096;
#endif

/// Checks at its end that the pooler's memory has not followed the data.
class MemoryBound {
 public:
  explicit MemoryBound(BezelProcess& bezel) : bezel_(bezel), before_(bezel.process().resident_bytes()) {}
  ~MemoryBound() { CHECK(bezel_.process().resident_bytes_peak() < before_ + kGrowthMax); }

 private:
  BezelProcess& bezel_;
  uint64_t before_;
};

/// The bytes of a whole answer to a query; the reader may be slow.
uint64_t bytes_of_answer(PgConnection& client, const std::string& copy, std::chrono::microseconds pause) {
  const PgResult begun = client.exec(copy);
  CHECK(begun.status() == PGRES_COPY_OUT);
  uint64_t bytes = 0;
  char* row = nullptr;
  int size = 0;
  while ((size = PQgetCopyData(client.get(), &row, 0)) > 0) {
    bytes += static_cast<uint64_t>(size);
    PQfreemem(row);
    if (pause.count() > 0 && bytes % kMegabyte < static_cast<uint64_t>(size)) std::this_thread::sleep_for(pause);
  }
  CHECK(size == -1);
  CHECK(client.last_result().ok());
  return bytes;
}

}  // namespace

TEST_CASE("COPY OUT of 300 MB") {
  BezelProcess bezel;
  PgConnection client = bezel.connect();
  const MemoryBound bound(bezel);
  CHECK(bytes_of_answer(client, "COPY (SELECT repeat('x', 9999) FROM generate_series(1, 30000)) TO STDOUT", {}) ==
        30000u * 10000u);
  CHECK(client.value("SELECT 1") == "1");
}

TEST_CASE("COPY OUT of 100 MB to a slow reader") {
  BezelProcess bezel;
  PgConnection client = bezel.connect(), other = bezel.connect();
  const MemoryBound bound(bezel);
  std::thread reader([&] {
    bytes_of_answer(client, "COPY (SELECT repeat('x', 9999) FROM generate_series(1, 10000)) TO STDOUT",
                    std::chrono::milliseconds(10));
  });
  for (int i = 0; i < 50; i++) CHECK(other.value("SELECT 1") == "1");
  reader.join();
}

TEST_CASE("COPY IN of 200 MB") {
  PostgresServer::shared().superuser().run("CREATE UNLOGGED TABLE bulk (a text); GRANT ALL ON bulk TO app");
  BezelProcess bezel;
  PgConnection client = bezel.connect();
  const MemoryBound bound(bezel);
  client.run("BEGIN");
  CHECK(client.exec("COPY bulk FROM STDIN").status() == PGRES_COPY_IN);
  const std::string line = std::string(99'999, 'y') + "\n";
  for (int i = 0; i < 2000; i++) REQUIRE(PQputCopyData(client.get(), line.data(), static_cast<int>(line.size())) == 1);
  REQUIRE(PQputCopyEnd(client.get(), nullptr) == 1);
  CHECK(client.last_result().command_tag() == "COPY 2000");
  client.run("ROLLBACK");
}

TEST_CASE("one row of 256 MB, read slowly and with other clients about") {
  BezelProcess bezel({.settings = {{"default_pool_size", "2"}}});
  RawClient client(own_address(), bezel.port());
  REQUIRE(client.log_in("app", "app-secret", "app").back().type == 'Z');
  PgConnection other = bezel.connect();
  const MemoryBound bound(bezel);
  client.send(Messages().query("SELECT repeat('r', 256 * 1024 * 1024)").bytes());
  CHECK(client.read_frame()->type == 'T');
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  for (int i = 0; i < 20; i++) CHECK(other.value("SELECT 1") == "1");
  const auto row = client.read_frame();
  REQUIRE(row);
  CHECK(row->body.size() == 2 + 4 + 256 * kMegabyte);
  CHECK(row->body.find_first_not_of('r', 6) == std::string::npos);
  CHECK(client.read_until('Z').size() == 2);
}

TEST_CASE("a parameter of 200 MB, for an unnamed and a named statement") {
  BezelProcess bezel;
  RawClient client(own_address(), bezel.port());
  REQUIRE(client.log_in("app", "app-secret", "app").back().type == 'Z');
  const MemoryBound bound(bezel);
  const std::string large(200 * kMegabyte, 'p');
  for (const char* name : {"", "named"}) {
    client.send(Messages().parse(name, "SELECT length($1::text)").bind("", name, {large}).execute().sync().bytes());
    const auto frames = client.read_until('Z');
    REQUIRE(frames.size() == 5);
    CHECK(frames[2].body.find("209715200") != std::string::npos);
  }
}

TEST_CASE("much data in both directions at once does not lock up") {
  BezelProcess bezel;
  RawClient client(own_address(), bezel.port());
  REQUIRE(client.log_in("app", "app-secret", "app").back().type == 'Z');
  const MemoryBound bound(bezel);
  const std::string query =
      Messages().query("SELECT '" + std::string(500'000, 'q') + "', repeat('a', 1000000)").bytes();
  constexpr int kQueries = 60;
  std::thread sender([&] {
    for (int i = 0; i < kQueries; i++) client.send(query);
  });
  for (int i = 0; i < kQueries; i++) CHECK(client.read_until('Z').size() == 4);
  sender.join();
}

TEST_CASE("a thousand idle clients cost little") {
  BezelProcess bezel({.settings = {{"max_client_conn", "1200"}, {"log_level", "info"}, {"log_connections", "0"}}});
  PgConnection first = bezel.connect();
  first.run("SELECT 1");
  const uint64_t before = bezel.process().resident_bytes();
  std::vector<RawClient> clients;
  for (int i = 0; i < 900; i++) {
    clients.emplace_back(own_address(), bezel.port());
    REQUIRE(clients.back().log_in("app", "app-secret", "app").back().type == 'Z');
  }
  const uint64_t each = (bezel.process().resident_bytes() - before) / clients.size();
  INFO("bytes a client: " << each);
  CHECK(each < kClientBytesMax);
}
