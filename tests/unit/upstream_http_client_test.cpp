#include <doctest/doctest.h>

#include <optional>

#include "integration/certificates.h"
#include "src/upstream/http_client.h"
#include "upstream_server.h"

namespace bezel::upstream {
namespace {

using integration::Certificate;
using integration::CertificateAuthority;

/// Sends a request and waits for its end.
HttpAnswer ask(TestLoop& loop, HttpClient& client, HttpRequest request) {
  std::optional<HttpAnswer> answer;
  const auto exchange = client.send(std::move(request), [&](HttpAnswer got) { answer = std::move(got); });
  CHECK_FALSE(answer.has_value());  // never from inside a call
  loop.until([&] { return answer.has_value(); });
  return *answer;
}

HttpAnswer ask(HttpRequest request) {
  TestLoop loop;
  HttpClient client(loop.get());
  return ask(loop, client, std::move(request));
}

void reply_ok(ServerConnection& connection, const SeenRequest&) {
  connection.reply(200, "{\"a\":1}");
}

TEST_CASE("http: an answer of HTTP/1.0 without a length is whole at the end of the connection") {
  const ScriptedServer server(reply_ok);
  TestLoop loop;
  HttpClient client(loop.get());
  for (int i = 0; i < 3; i++) {  // the connections are not taken for ones that can be used again
    const HttpAnswer answer = ask(loop, client, {server.url() + "/cluster?a=b"});
    CHECK(answer.error == "");
    CHECK(answer.status == 200);
    CHECK(answer.body == "{\"a\":1}");
    CHECK(answer.was_sent);
  }
  REQUIRE(server.count() == 3);
  CHECK(server.seen()[0].method == "GET");
  CHECK(server.seen()[0].target == "/cluster?a=b");
  CHECK(server.seen()[0].header("authorization") == "");
}

TEST_CASE("http: POST with a body and basic authentication; other statuses come with their bodies") {
  const ScriptedServer server(
      [](ServerConnection& connection, const SeenRequest&) { connection.reply(412, "leader name does not match"); });
  HttpRequest request{server.url() + "/switchover"};
  request.post = true;
  request.body = "{\"leader\":\"a\"}";
  request.user = "admin";
  request.password = "se:cret";
  const HttpAnswer answer = ask(request);
  CHECK(answer.error == "");
  CHECK(answer.status == 412);
  CHECK(answer.body == "leader name does not match");
  const SeenRequest seen = server.seen().at(0);
  CHECK(seen.method == "POST");
  CHECK(seen.body == "{\"leader\":\"a\"}");
  CHECK(seen.header("authorization") == "Basic YWRtaW46c2U6Y3JldA==");
  CHECK(seen.header("content-type") == "application/json");
  CHECK(seen.header("expect") == "");
}

TEST_CASE("http: a bearer's token is sent") {
  const ScriptedServer server(reply_ok);
  HttpRequest request{server.url()};
  request.bearer_token = "abc.def";
  CHECK(ask(request).status == 200);
  CHECK(server.seen().at(0).header("authorization") == "Bearer abc.def");
}

TEST_CASE("http: an IPv6 address in a URL") {
  const ScriptedServer server(reply_ok, {}, /*ipv6=*/true);
  CHECK(ask({server.url() + "/x"}).status == 200);
}

TEST_CASE("http: a name is resolved, and one that is not known is an error") {
  const ScriptedServer server(reply_ok);
  CHECK(ask({"http://localhost:" + std::to_string(server.port())}).status == 200);
  const HttpAnswer answer = ask({"http://no-such-host.invalid/"});
  CHECK(answer.error != "");
  CHECK_FALSE(answer.was_sent);
}

TEST_CASE("http: redirects are not followed, and proxies of the environment not used") {
  const ScriptedServer target(reply_ok);
  const ScriptedServer server([&](ServerConnection& connection, const SeenRequest&) {
    connection.send("HTTP/1.0 302 Found\r\nLocation: " + target.url() + "/\r\n\r\n");
  });
  REQUIRE(::setenv("http_proxy", target.url().c_str(), 1) == 0);
  const HttpAnswer answer = ask({server.url()});
  ::unsetenv("http_proxy");
  CHECK(answer.status == 302);
  CHECK(server.count() == 1);
  CHECK(target.count() == 0);
}

TEST_CASE("http: only http and https") {
  for (const char* url : {"file:///etc/hostname", "ftp://127.0.0.1/", "", "http://", "gopher://127.0.0.1:1/"}) {
    CAPTURE(url);
    const HttpAnswer answer = ask({url});
    CHECK(answer.error != "");
    CHECK(answer.status == 0);
    CHECK_FALSE(answer.was_sent);
  }
}

TEST_CASE("http: where nobody listens the request was not sent") {
  const HttpAnswer answer = ask({dead_url()});
  CHECK(answer.error != "");
  CHECK_FALSE(answer.was_sent);
}

TEST_CASE("http: a connection that ends before the answer is an error, and the request may have been seen") {
  const ScriptedServer server([](ServerConnection&, const SeenRequest&) {});
  const HttpAnswer answer = ask({server.url()});
  CHECK(answer.error != "");
  CHECK(answer.was_sent);
}

TEST_CASE("http: a body that is shorter than announced is an error") {
  const ScriptedServer server([](ServerConnection& connection, const SeenRequest&) {
    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}");
  });
  CHECK(ask({server.url()}).error != "");
}

TEST_CASE("http: bodies and headers have bounds") {
  SUBCASE("a body of the greatest size") {
    const ScriptedServer server(
        [](ServerConnection& connection, const SeenRequest&) { connection.reply(200, std::string(1000, 'x')); });
    HttpRequest request{server.url()};
    request.body_bytes_max = 1000;
    CHECK(ask(request).body.size() == 1000);
  }
  SUBCASE("one byte more") {
    const ScriptedServer server(
        [](ServerConnection& connection, const SeenRequest&) { connection.reply(200, std::string(1001, 'x')); });
    HttpRequest request{server.url()};
    request.body_bytes_max = 1000;
    CHECK(ask(request).error == "the answer is too long");
  }
  SUBCASE("a body without an end") {
    const ScriptedServer server([](ServerConnection& connection, const SeenRequest&) {
      connection.reply(200, "");
      for (int i = 0; i < 100; i++) connection.send(std::string(10'000, 'x'));
      connection.hang();
    });
    CHECK(ask({server.url()}).error == "the answer is too long");
  }
  SUBCASE("headers without an end") {
    const ScriptedServer server([](ServerConnection& connection, const SeenRequest&) {
      connection.send("HTTP/1.0 200 OK\r\n");
      for (int i = 0; i < 1000; i++) connection.send("X-Header: " + std::string(1000, 'x') + "\r\n");
      connection.hang();
    });
    CHECK(ask({server.url()}).error == "the answer's headers are too long");
  }
}

TEST_CASE("http: a server that hangs ends in the time-out") {
  const ScriptedServer server([](ServerConnection& connection, const SeenRequest&) { connection.hang(); });
  HttpRequest request{server.url()};
  request.total_timeout_us = 1'000'000;  // a busy machine may need long to connect
  const HttpAnswer answer = ask(request);
  CHECK(answer.error.find("timed out") != std::string::npos);
  CHECK(answer.was_sent);
}

TEST_CASE("http: a stream comes in parts, without a total time-out, and ends when nothing comes any more") {
  const ScriptedServer server([](ServerConnection& connection, const SeenRequest&) {
    connection.begin_chunks();
    for (int i = 0; i < 300; i++) connection.chunk(std::string(1000, static_cast<char>('a' + i % 26)));
    connection.hang();
  });
  TestLoop loop;
  HttpClient client(loop.get());
  HttpRequest request{server.url()};
  request.idle_timeout_us = 1'000'000;
  request.body_bytes_max = 10;  // of what is collected: nothing is
  std::string all;
  std::optional<HttpAnswer> answer;
  const auto exchange = client.send(
      request, [&](HttpAnswer got) { answer = std::move(got); }, [&](std::string_view part) { all += part; });
  loop.until([&] { return answer.has_value(); });
  CHECK(all.size() == 300'000);
  CHECK(all.substr(25'500, 1000) == std::string(500, 'z') + std::string(500, 'a'));
  CHECK(answer->error == "nothing has come for too long");
  CHECK(answer->status == 200);
  CHECK(answer->was_sent);
}

TEST_CASE("http: a stream that its server ends is whole; one with another status is collected") {
  for (const int status : {200, 403}) {
    CAPTURE(status);
    const ScriptedServer server([&](ServerConnection& connection, const SeenRequest&) {
      connection.begin_chunks(status);
      connection.chunk("text");
      connection.end_chunks();
    });
    TestLoop loop;
    HttpClient client(loop.get());
    std::string parts;
    std::optional<HttpAnswer> answer;
    const auto exchange = client.send(
        {server.url()}, [&](HttpAnswer got) { answer = std::move(got); },
        [&](std::string_view part) {
          CHECK_FALSE(answer.has_value());
          parts += part;
        });
    loop.until([&] { return answer.has_value(); });
    CHECK(answer->error == "");
    CHECK(answer->status == status);
    CHECK(parts == (status == 200 ? "text" : ""));
    CHECK(answer->body == (status == 200 ? "" : "text"));
  }
}

TEST_CASE("http: who destroys an exchange hears nothing more, and the connection ends") {
  const ScriptedServer server([](ServerConnection& connection, const SeenRequest&) {
    connection.begin_chunks();
    for (int i = 0; i < 20; i++) connection.chunk("part");
    connection.hang();
  });
  TestLoop loop;
  HttpClient client(loop.get());
  int calls = 0;
  SUBCASE("before it has begun") {
    (void)client.send({server.url()}, [&](HttpAnswer) { calls++; });
    loop.turns(20);
    CHECK(calls == 0);
    CHECK(server.count() == 0);
  }
  SUBCASE("while it waits") {
    auto exchange = client.send({server.url()}, [&](HttpAnswer) { calls++; });
    loop.until([&] { return server.count() == 1; });
    exchange.reset();
    loop.until([&] { return server.open_connections() == 0; });
    CHECK(calls == 0);
  }
  SUBCASE("from inside its own callback") {
    std::unique_ptr<HttpExchange> exchange;
    exchange = client.send(
        {server.url()}, [&](HttpAnswer) { calls += 100; },
        [&](std::string_view) {
          calls++;
          exchange.reset();
        });
    loop.until([&] { return calls > 0 && server.open_connections() == 0; });
    CHECK(calls == 1);
  }
  SUBCASE("while a name is resolved") {
    (void)client.send({"http://no-such-host.invalid/"}, [&](HttpAnswer) { calls++; });
    auto exchange = client.send({"http://no-such-host.invalid/"}, [&](HttpAnswer) { calls++; });
    loop.turns(1);
    const int before = calls;  // where it is known at once that there is none
    exchange.reset();
    loop.turns(20);
    CHECK(calls == before);
  }
}

TEST_CASE("http: the client may be destroyed with requests under way, also by one of their callbacks") {
  const ScriptedServer server([](ServerConnection& connection, const SeenRequest& request) {
    if (request.target == "/hang") return connection.hang();
    connection.reply(200, "{}");
  });
  TestLoop loop;
  auto client = std::make_unique<HttpClient>(loop.get());
  int calls = 0;
  std::vector<std::unique_ptr<HttpExchange>> exchanges;
  for (const char* path : {"/hang", "/quick", "/quick", "/quick"}) {
    exchanges.push_back(client->send({server.url() + path}, [&](HttpAnswer) {
      calls++;
      client.reset();
    }));
  }
  loop.until([&] { return client == nullptr && server.open_connections() == 0; });
  loop.turns(20);
  CHECK(calls == 1);
}

TEST_CASE("http: of several requests that end in one turn, the first callback may end all") {
  TestLoop loop;
  auto client = std::make_unique<HttpClient>(loop.get());
  std::vector<std::unique_ptr<HttpExchange>> exchanges;
  int calls = 0;
  std::function<void()> end_all;
  SUBCASE("by destroying the exchanges") {
    end_all = [&] { exchanges.clear(); };
  }
  SUBCASE("by destroying the client") {
    end_all = [&] { client.reset(); };
  }
  for (int i = 0; i < 3; i++) {
    exchanges.push_back(client->send({"none://"}, [&](HttpAnswer) {  // fails as soon as it is begun
      calls++;
      end_all();
    }));
  }
  loop.until([&] { return calls > 0; });
  loop.turns(20);
  CHECK(calls == 1);
}

TEST_CASE("http: callbacks may send") {
  const ScriptedServer server(reply_ok);
  TestLoop loop;
  HttpClient client(loop.get());
  int answers = 0;
  std::unique_ptr<HttpExchange> exchange;
  std::function<void(HttpAnswer)> again = [&](HttpAnswer answer) {
    CHECK(answer.status == 200);
    if (++answers < 5) exchange = client.send({server.url()}, again);
  };
  exchange = client.send({server.url()}, again);
  loop.until([&] { return answers == 5; });
  CHECK(server.count() == 5);
}

TEST_CASE("https: the server's certificate and name are verified") {
  CertificateAuthority authority, other("Another Authority");
  const Certificate good = authority.issue("good", "patroni", {"IP:127.0.0.1"});
  const Certificate misnamed = authority.issue("misnamed", "patroni", {"IP:127.0.0.2"});

  const auto answer_of = [&](const Certificate& certificate, const std::string& ca_file) {
    const ScriptedServer server(reply_ok, {certificate.certificate, certificate.key, ""});
    HttpRequest request{server.url()};
    request.ca_file = ca_file;
    HttpAnswer answer = ask(request);
    CHECK(server.count() == (answer.error.empty() ? 1 : 0));
    return answer;
  };
  CHECK(answer_of(good, authority.certificate()).body == "{\"a\":1}");
  for (const auto& [certificate, ca_file] : std::vector<std::pair<Certificate, std::string>>{
           {good, other.certificate()}, {good, ""}, {good, "/no/such/file"}, {misnamed, authority.certificate()}}) {
    const HttpAnswer answer = answer_of(certificate, ca_file);
    CHECK(answer.error != "");
    CHECK(answer.status == 0);
    CHECK_FALSE(answer.was_sent);
  }
}

TEST_CASE("https: a client's certificate is shown") {
  CertificateAuthority authority;
  const Certificate own = authority.issue("server", "patroni", {"IP:127.0.0.1"});
  const Certificate clients = authority.issue("client", "bezel");
  const ScriptedServer server(reply_ok, {own.certificate, own.key, authority.certificate()});
  HttpRequest request{server.url()};
  request.ca_file = authority.certificate();
  CHECK(ask(request).error != "");
  CHECK(server.count() == 0);
  request.cert_file = clients.certificate;
  request.key_file = clients.key;
  CHECK(ask(request).error == "");
  CHECK(server.count() == 1);
}

}  // namespace
}  // namespace bezel::upstream
