#include "pool/tls.h"

#include <fmt/format.h>

#include "pool/byte_stream.h"

namespace bezel::pool {

std::string tls_text(const ByteStream* stream) {
  const TlsFacts* const facts = stream != nullptr ? stream->tls_facts() : nullptr;
  return facts != nullptr ? fmt::format("{}/{}", facts->version, facts->cipher) : std::string();
}

}  // namespace bezel::pool
