#pragma once

#include "src/net/submitter.h"

namespace bezel::net {

/// One send(2) or sendmsg(2) a connection. Works everywhere.
class PlainSubmitter final : public Submitter {
 public:
  void submit(std::span<Send> sends) override;
  int enroll(int) override { return Send::kNoSlot; }
  void dismiss(int) override {}

  /// One send, as submit() does it.
  static ssize_t send_one(const Send& send);
};

}  // namespace bezel::net
