#pragma once

#include <cstdint>
#include <string_view>

#include "src/dns/answer.h"

namespace bezel::dns {

/// The types of records that are asked for, with their numbers.
enum class RecordType : uint16_t { a = 1, aaaa = 28, srv = 33 };

/// Adds the records of the type in a reply's answer section to `answer`, whatever their owner: a server that is asked
/// for a name answers for that name, by way of aliases (CNAME), whose times to live count as well. Lists are neither
/// sorted nor bounded yet. False: the reply is malformed; nothing was added.
bool read_reply(std::string_view reply, RecordType type, Answer& answer);

/// Brings the lists into their order, and cuts them off.
void put_in_order(Answer& answer);

}  // namespace bezel::dns
