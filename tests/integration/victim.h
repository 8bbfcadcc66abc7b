#pragma once

#include <doctest/doctest.h>

#include "integration/bezel_process.h"
#include "integration/loopback.h"
#include "integration/raw_client.h"

namespace bezel::integration {

/// A pooler that hostile peers are set on. Whatever they do, it must be there afterwards, and serve.
class Victim {
 public:
  explicit Victim(BezelProcess& bezel) : bezel_(bezel) {}
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;
  ~Victim() {
    CHECK(bezel_.process().running());
    CHECK(bezel_.connect().value("SELECT 1") == "1");
  }

  BezelProcess* operator->() const { return &bezel_; }
  RawClient client() const { return RawClient(own_address(), bezel_.port()); }

 private:
  BezelProcess& bezel_;
};

}  // namespace bezel::integration
