#include "pool/hba.h"

namespace bezel::pool {

namespace {

bool comes_that_way(const HbaRule& rule, const HbaClient& client) {
  switch (rule.transport) {
    case HbaTransport::local:
      return client.is_local;
    case HbaTransport::host:
      break;
    case HbaTransport::hostssl:
      if (!client.is_encrypted) return false;
      break;
    case HbaTransport::hostnossl:
      if (client.is_encrypted) return false;
      break;
  }
  if (client.is_local || !client.address) return false;
  return !rule.network || rule.network->contains(*client.address);
}

}  // namespace

const HbaRule* HbaRules::match(const HbaClient& client) const {
  for (const HbaRule& rule : rules_) {
    if (!comes_that_way(rule, client)) continue;
    if (!rule.databases.contains(client.database, client.user)) continue;
    if (rule.users.contains(client.user, client.user)) return &rule;
  }
  return nullptr;
}

}  // namespace bezel::pool
