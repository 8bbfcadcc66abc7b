#pragma once

#include <uv.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "src/upstream/http_client.h"
#include "src/upstream/kubernetes_access.h"
#include "src/upstream/kubernetes_objects.h"

namespace bezel::upstream {

/// Keeps someone informed of some objects in Kubernetes: lists them, then watches for changes from there on, and does
/// both again as often as needed. A watch that its server ends, as it does every few minutes, goes on from the last
/// version that was seen; when that is too old for the server, and after failures, the objects are listed anew.
class KubernetesWatch {
 public:
  /// Who is informed. Called from the loop only; it may destroy the watch.
  class Events {
   public:
    /// These are all that there are.
    virtual void on_list(const KubernetesWatch& watch, const std::vector<KubernetesObject>& objects) = 0;
    /// These have changed, in this order: `put` and `removed` only.
    virtual void on_events(const KubernetesWatch& watch, const std::vector<KubernetesEvent>& events) = 0;
    /// It is tried again soon. `status`: HTTP's, 0 if there was none; `why` is for people.
    virtual void on_failure(const KubernetesWatch& watch, int status, std::string_view why) = 0;

   protected:
    ~Events() = default;
  };

  /// `selection`: "/api/v1/namespaces/x/pods?labelSelector=...". All references outlive this object.
  KubernetesWatch(uv_loop_t* loop, HttpClient& http, const KubernetesAccess& access, std::string selection,
                  Events& events);
  ~KubernetesWatch();
  KubernetesWatch(const KubernetesWatch&) = delete;
  KubernetesWatch& operator=(const KubernetesWatch&) = delete;

  /// Lists the objects now, unless that is under way. This also begins it all.
  void look();

 private:
  void watch();
  void send(const std::string& path, bool is_watch);
  void on_list_answer(const HttpAnswer& answer);
  void on_part(std::string_view part);
  void on_watch_end(const HttpAnswer& answer);
  void take_line(std::string_view line, std::vector<KubernetesEvent>& changes, KubernetesEvent& error);
  /// Later, a little later each time.
  void go_on_later();
  /// As well, from a new list.
  void begin_anew_later();
  void fail(int status, const std::string& why);

  uv_loop_t* loop_;
  HttpClient& http_;
  const KubernetesAccess& access_;
  const std::string selection_;
  Events& events_;
  uv_timer_t* timer_;  ///< outlives this object until it is closed
  std::unique_ptr<HttpExchange> exchange_;
  bool is_listing_ = false;
  std::string problem_;           ///< why nothing could be sent
  std::string resource_version_;  ///< empty: to be listed
  std::string line_;              ///< begun
  uint64_t delay_ms_;
};

}  // namespace bezel::upstream
