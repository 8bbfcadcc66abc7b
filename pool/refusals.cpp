#include "pool/refusals.h"

namespace bezel::pool {

bool is_refusal_of_one_server(std::string_view sqlstate) {
  const std::string_view kind = sqlstate.substr(0, 2);
  // Insufficient resources, operator intervention, system error, internal error.
  return kind == "53" || kind == "57" || kind == "58" || kind == "XX";
}

}  // namespace bezel::pool
