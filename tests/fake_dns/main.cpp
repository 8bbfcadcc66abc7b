// The DNS server as a program, for tests that are not written in C++. It prints its port, then "ok" for each line that
// it is told on its standard input, from when on that holds; it ends with that input.
//
//   a NAME ADDRESS TTL_S   the name's only address
//   silence                nothing is answered any more
//   speech                 all is answered again

#include <cstdint>
#include <exception>
#include <iostream>
#include <sstream>
#include <string>

#include "fake_dns/fake_dns_server.h"

using namespace bezel::fake_dns;

namespace {

/// False: the line cannot be understood.
bool obey(FakeDnsServer& server, const std::string& line) {
  std::istringstream words(line);
  std::string command, name, address;
  uint32_t ttl_s = 0;
  words >> command;
  if (command == "silence") {
    server.set_all(Reply{.silent = true});
  } else if (command == "speech") {
    server.clear_all();
  } else if (command == "a" && words >> name >> address >> ttl_s) {
    server.set(name, kA, {a(address, ttl_s)});
  } else {
    return false;
  }
  return true;
}

}  // namespace

int main() {
  try {
    FakeDnsServer server;
    std::cout << server.port() << std::endl;
    for (std::string line; std::getline(std::cin, line);) {
      std::cout << (obey(server, line) ? "ok" : "what?") << std::endl;
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
