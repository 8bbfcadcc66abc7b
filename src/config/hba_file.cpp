#include "src/config/hba_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "src/config/hba_tokens.h"
#include "src/config/ldap_options.h"
#include "src/config/pam_service.h"
#include "src/config/values.h"

namespace bezel::config {

namespace {

using pool::AuthType;
using pool::HbaTransport;
using pool::IpAddress;
using pool::IpNetwork;

constexpr std::array<std::pair<std::string_view, HbaTransport>, 4> kTransports = {
    {{"local", HbaTransport::local},
     {"host", HbaTransport::host},
     {"hostssl", HbaTransport::hostssl},
     {"hostnossl", HbaTransport::hostnossl}}};

constexpr std::array<std::pair<std::string_view, AuthType>, 10> kMethods = {{{"trust", AuthType::trust},
                                                                             {"reject", AuthType::reject},
                                                                             {"md5", AuthType::md5},
                                                                             {"password", AuthType::plain},
                                                                             {"plain", AuthType::plain},
                                                                             {"scram-sha-256", AuthType::scram_sha_256},
                                                                             {"cert", AuthType::cert},
                                                                             {"peer", AuthType::peer},
                                                                             {"pam", AuthType::pam},
                                                                             {"ldap", AuthType::ldap}}};

/// Methods of PostgreSQL that there is nobody here to ask for.
constexpr std::array<std::string_view, 6> kForeignMethods = {"ident", "gss", "sspi", "radius", "bsd", "oauth"};

template <typename Value, size_t count>
std::optional<Value> find_word(const std::array<std::pair<std::string_view, Value>, count>& words,
                               std::string_view word) {
  for (const auto& [text, value] : words) {
    if (text == word) return value;
  }
  return std::nullopt;
}

/// What is wrong with a line: thrown within this file only.
struct Fault {
  std::string message;
};

[[noreturn]] void fail(std::string message) {
  throw Fault{std::move(message)};
}

/// Makes a rule of a line, field by field.
class RuleReader {
 public:
  RuleReader(const HbaLine& line, const pool::IdentMaps& maps) : line_(line), maps_(maps) {}

  pool::HbaRule read() {
    pool::HbaRule rule;
    rule.file = line_.file;
    rule.line = line_.line;
    rule.transport = transport(word("a connection type"));
    rule.databases = databases(field("a database"));
    rule.users = users(field("a user"));
    if (rule.transport != HbaTransport::local) rule.network = network(word("an address"));
    rule.method = method(word("a method"), rule.transport);
    while (next_ < line_.fields.size()) {
      for (const HbaToken& token : line_.fields[next_++]) option(token.text, rule);
    }
    if (rule.method == AuthType::ldap) {
      fail_if(ldap_.finish());
      rule.ldap = ldap_.settings();
    }
    return rule;
  }

 private:
  const HbaField& field(std::string_view expected) {
    if (next_ == line_.fields.size()) fail(fmt::format("expected {} here; the line ends", expected));
    return line_.fields[next_++];
  }

  const HbaToken& word(std::string_view expected) {
    const HbaField& words = field(expected);
    if (words.size() != 1) {
      fail(fmt::format("expected {}; found {}", expected, words.empty() ? "nothing" : "a list"));
    }
    return words[0];
  }

  static HbaTransport transport(const HbaToken& token) {
    if (const auto found = find_word(kTransports, token.text)) return *found;
    if (token.text == "hostgssenc" || token.text == "hostnogssenc") {
      fail(fmt::format("\"{}\": GSSAPI encryption is not supported", token.text));
    }
    fail(fmt::format("expected local, host, hostssl or hostnossl; found \"{}\"", token.text));
  }

  static void refuse_pattern(const HbaToken& token) {
    if (token.text.starts_with('/')) {
      fail(fmt::format("\"{}\": regular expressions are not supported here", token.text));
    }
  }

  static pool::HbaNames databases(const HbaField& field) {
    pool::HbaNames names;
    for (const HbaToken& token : field) {
      refuse_pattern(token);
      if (token.is("all")) {
        names.all = true;
      } else if (token.is("sameuser")) {
        names.same_user = true;
      } else if (token.is("samerole") || token.is("samegroup")) {
        fail(fmt::format("\"{}\" is not supported: Bezel does not know which groups a user is in", token.text));
      } else if (!token.is("replication")) {  // which no client here can ask for
        names.names.insert(token.text == "bezel" ? std::string(pool::kConsoleName) : token.text);
      }
    }
    return names;
  }

  static pool::HbaNames users(const HbaField& field) {
    pool::HbaNames names;
    for (const HbaToken& token : field) {
      refuse_pattern(token);
      if (token.is("all")) {
        names.all = true;
      } else if (!token.quoted && token.text.starts_with('+')) {
        fail(fmt::format("\"{}\": groups are not supported: Bezel does not know which users are in them", token.text));
      } else {
        names.names.insert(token.text);
      }
    }
    return names;
  }

  /// Nothing: all addresses.
  std::optional<IpNetwork> network(const HbaToken& token) {
    const std::string& text = token.text;
    if (token.is("all")) return std::nullopt;
    if (token.is("samehost") || token.is("samenet")) {
      fail(fmt::format("\"{}\" is not supported: give the addresses", text));
    }
    const size_t slash = text.find('/');
    const std::optional<IpAddress> address = IpAddress::parse(std::string_view(text).substr(0, slash));
    if (!address && slash == std::string::npos && text.find(':') == std::string::npos && !looks_like_ipv4(text)) {
      fail(fmt::format("\"{}\": host names are not supported: give an address", text));
    }
    if (!address) fail(fmt::format("expected an IPv4 or IPv6 address; found \"{}\"", text));
    if (slash != std::string::npos) return prefix(*address, text, text.substr(slash + 1));
    return IpNetwork{*address, mask(*address)};
  }

  static bool looks_like_ipv4(std::string_view text) {
    return text.find_first_not_of("0123456789.") == std::string_view::npos;
  }

  static IpNetwork prefix(const IpAddress& address, const std::string& text, const std::string& figures) {
    const std::optional<int64_t> bits = parse_integer(figures);
    if (!bits || *bits < 0 || *bits > address.bits()) {
      fail(fmt::format("expected a length from 0 to {} after the /; found \"{}\"", address.bits(), text));
    }
    return IpNetwork::of_prefix(address, static_cast<int>(*bits));
  }

  IpAddress mask(const IpAddress& address) {
    if (next_ == line_.fields.size()) fail("expected a mask after the address; the line ends");
    const HbaToken& token = word("a mask");
    const std::optional<IpAddress> mask = IpAddress::parse(token.text);
    if (!mask) {
      fail(fmt::format("expected a mask after the address, or a length (/{}) at it; found \"{}\"", address.bits(),
                       token.text));
    }
    if (mask->is_v6 != address.is_v6) fail("the address and the mask are of different families");
    return *mask;
  }

  static AuthType method(const HbaToken& token, HbaTransport transport) {
    const std::string& text = token.text;
    if (std::find(kForeignMethods.begin(), kForeignMethods.end(), text) != kForeignMethods.end()) {
      fail(fmt::format("method \"{}\" is not supported", text));
    }
    const std::optional<AuthType> found = find_word(kMethods, text);
    if (!found) {
      fail(fmt::format("expected trust, reject, md5, password, scram-sha-256, cert, peer, pam or ldap; found \"{}\"",
                       text));
    }
    if (*found == AuthType::peer && transport != HbaTransport::local) {
      fail("method peer is for local connections only");
    }
    if (*found == AuthType::cert && transport != HbaTransport::hostssl) {
      fail("method cert is for hostssl connections only");
    }
    return *found;
  }

  static void fail_if(std::string fault) {
    if (!fault.empty()) fail(std::move(fault));
  }

  void ldap_option(const std::string& text, const std::string& name) {
    const bool is_option = name.size() < text.size() && LdapOptions::is_option(name);
    fail_if(is_option ? ldap_.read(name, text.substr(name.size() + 1)) : ldap_.fault_of_word(text));
  }

  void option(const std::string& text, pool::HbaRule& rule) {
    const size_t equals = text.find('=');
    const std::string name = text.substr(0, equals);
    if (rule.method == AuthType::ldap) return ldap_option(text, name);
    if (equals == std::string::npos) fail(fmt::format("expected name=value as an option; found \"{}\"", text));
    const std::string value = text.substr(equals + 1);
    const bool is_mapped = rule.method == AuthType::cert || rule.method == AuthType::peer;
    if (name == "map") {
      if (!is_mapped) fail("option map is for the methods cert and peer only");
      const auto found = maps_.find(value);
      if (found == maps_.end()) fail(fmt::format("map \"{}\" is not in auth_ident_file", value));
      rule.map = found->second;
    } else if (rule.method == AuthType::pam && name == "pamservice") {
      if (!is_pam_service(value))
        fail(fmt::format("pamservice: expected {}; found \"{}\"", kPamServiceExpected, value));
      rule.pam_service = value;
    } else if (name == "clientcert" && value == "verify-full" && rule.method == AuthType::cert) {
      // That is what cert means.
    } else {
      fail(fmt::format("option \"{}\" is not supported with this method", name == "clientcert" ? text : name));
    }
  }

  const HbaLine& line_;
  const pool::IdentMaps& maps_;
  LdapOptions ldap_;
  size_t next_ = 0;
};

/// The message without the password that stands in the line, should it be where another word is expected.
std::string without_password(std::string message, const HbaLine& line) {
  constexpr std::string_view kOption = "ldapbindpasswd=";
  for (const HbaField& field : line.fields) {
    for (const HbaToken& token : field) {
      if (!token.text.starts_with(kOption)) continue;
      const size_t at = message.find(token.text);
      if (at != std::string::npos) message.replace(at, token.text.size(), "ldapbindpasswd");
    }
  }
  return message;
}

}  // namespace

std::shared_ptr<const pool::HbaRules> read_hba_file(const std::string& path, std::string_view content,
                                                    const pool::IdentMaps& maps, ProblemList& errors,
                                                    std::vector<std::string>& included) {
  std::vector<pool::HbaRule> rules;
  const std::vector<HbaLine> lines = read_hba_lines(path, content, errors, included);
  for (const HbaLine& line : lines) {
    try {
      rules.push_back(RuleReader(line, maps).read());
    } catch (const Fault& fault) {
      errors.add({line.file, line.line, {}, without_password(fault.message, line)});
    }
  }
  if (lines.empty() && errors.empty()) errors.add({path, 0, {}, "expected at least one rule; found none"});
  return std::make_shared<pool::HbaRules>(std::move(rules));
}

}  // namespace bezel::config
