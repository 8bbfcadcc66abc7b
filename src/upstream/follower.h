#pragma once

#include <uv.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "pool/membership.h"
#include "pool/runtime.h"
#include "pool/upstream_settings.h"

// Who is a cluster's primary, asked of whoever knows it. All of this lives on the control thread.
namespace bezel::upstream {

/// Who wants to know.
class Observer {
 public:
  /// The source has answered, with all that it knows; also when nothing has changed.
  virtual void on_membership(const pool::Membership& membership) = 0;
  /// The source gives no usable answer; `why` is for people, without secrets. What was known goes on to hold.
  virtual void on_silence(std::string_view why) = 0;

 protected:
  ~Observer() = default;
};

/// Asks one source, again and again, from start() to its destruction. Every call, and every call of the observer, is
/// made by the thread that runs `loop`; the observer is never called from inside a call to the follower.
class Follower {
 public:
  virtual ~Follower() = default;
  virtual void start() = 0;
  /// Whether a change of the primary is under way: then it looks often, and once at once when this turns true.
  virtual void set_changing(bool changing) = 0;
  /// Asks the cluster to make `candidate` (empty: whichever) its primary in the place of `leader`. `done` gets an empty
  /// text when the cluster has done so, or an error for people. Only patroni can; others answer with an error.
  virtual void switch_over(const std::string& leader, const std::string& candidate,
                           std::function<void(std::string error)> done) = 0;
};

/// What the others answer.
inline constexpr const char* kSwitchoverNeedsPatroni =
    "the primary can only be switched over where Patroni is asked for it (upstream: {source: patroni})";

using LogFunction = std::function<void(pool::LogLevel, std::string_view)>;

/// The follower for `settings.source`. `loop` must still run after its destruction, for handles to close: they keep
/// nothing else alive.
std::unique_ptr<Follower> make_follower(uv_loop_t* loop, const pool::UpstreamSettings& settings, Observer& observer,
                                        LogFunction log);

}  // namespace bezel::upstream
