#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "config_folder.h"
#include "pool/hba.h"
#include "src/config/hba_tokens.h"
#include "src/config/named_files.h"

using namespace bezel;
using namespace bezel::config;
using pool::AuthType;
using pool::HbaRule;
using pool::HbaTransport;

namespace {

using Texts = std::vector<std::string>;

constexpr const char* kYaml = "auth_type: hba\nauth_hba_file: hba.conf\nauth_ident_file: ident.conf\n";

/// A folder with a file of rules and one of maps.
struct Rules {
  explicit Rules(const std::string& rules, const std::string& maps = "") {
    folder.write("hba.conf", rules);
    folder.write("ident.conf", maps);
  }
  std::vector<HbaRule> read() const {
    const LoadResult result = folder.load(kYaml);
    CHECK(folder.texts(result.errors) == Texts{});
    REQUIRE(result.ok());
    REQUIRE(result.settings->hba_rules);
    return result.settings->hba_rules->rules();
  }
  Texts errors() const { return folder.errors(kYaml); }

  ConfigFolder folder;
};

Texts names(const pool::HbaNames& set) {
  return {set.names.begin(), set.names.end()};
}

std::string error(const std::string& line) {
  const Texts texts = Rules("# first\n" + line + "\nlocal all all trust\n").errors();
  REQUIRE(texts.size() == 1);
  const std::string prefix = "hba.conf:2: ";
  REQUIRE(texts[0].starts_with(prefix));
  return texts[0].substr(prefix.size());
}

pool::HbaClient client_at(const std::string& address) {
  return {.is_local = false,
          .address = pool::IpAddress::parse(address),
          .is_encrypted = false,
          .database = "app",
          .user = "alice"};
}

}  // namespace

TEST_CASE("hba file: rules of every kind") {
  const auto rules = Rules(
                         "# TYPE DATABASE USER ADDRESS METHOD\n"
                         "\n"
                         "local\tall  all   peer map=os\n"
                         "host all all 127.0.0.1/32 trust # why not\n"
                         "hostssl a,b , alice, bob ::/0 cert map=certs clientcert=verify-full\r\n"
                         "hostnossl sameuser \"all\" 10.0.0.0 255.0.0.0 md5\n"
                         "host replication,\"replication\",\"same user\" \"say \"\"hi\"\"\" all password\n"
                         "host bezel all 2001:db8::/32 plain\n"
                         "host all all fe80:: ffff:: scram-sha-256\n"
                         "host all all 0.0.0.0/0 reject",
                         "os root app\ncerts x y\n")
                         .read();
  REQUIRE(rules.size() == 8);
  CHECK(rules[0].transport == HbaTransport::local);
  CHECK(rules[0].databases.all);
  CHECK(rules[0].method == AuthType::peer);
  REQUIRE(rules[0].map);
  CHECK(rules[0].map->allows("root", "app"));
  CHECK(rules[0].line == 3);
  CHECK(rules[1].method == AuthType::trust);
  CHECK_FALSE(rules[1].map);
  CHECK(rules[2].transport == HbaTransport::hostssl);
  CHECK(names(rules[2].databases) == Texts{"a", "b"});
  CHECK(names(rules[2].users) == Texts{"alice", "bob"});
  CHECK(rules[2].method == AuthType::cert);
  CHECK(rules[2].map->allows("x", "y"));
  CHECK(rules[3].transport == HbaTransport::hostnossl);
  CHECK(rules[3].databases.same_user);
  CHECK_FALSE(rules[3].users.all);
  CHECK(names(rules[3].users) == Texts{"all"});
  CHECK(rules[3].network->contains(*pool::IpAddress::parse("10.9.9.9")));
  CHECK(rules[3].method == AuthType::md5);
  CHECK(names(rules[4].databases) == Texts{"replication", "same user"});
  CHECK(names(rules[4].users) == Texts{"say \"hi\""});
  CHECK_FALSE(rules[4].network);
  CHECK(rules[4].method == AuthType::plain);
  CHECK(names(rules[5].databases) == Texts{"pgbouncer"});
  CHECK(rules[5].method == AuthType::plain);
  CHECK(rules[6].network->contains(*pool::IpAddress::parse("fe80::1")));
  CHECK(rules[6].method == AuthType::scram_sha_256);
  CHECK(rules[7].method == AuthType::reject);
}

TEST_CASE("hba file: pam and ldap") {
  const auto rules = Rules(
                         "local all all pam\n"
                         "local all all pam pamservice=db-users\n"
                         "host all all all ldap ldapserver=\"a b\" ldapbasedn=\"dc=x, dc=y\" \\\n"
                         "  ldapbinddn=\"cn=reader, dc=x\" \"ldapbindpasswd=it's, #1\"\n")
                         .read();
  REQUIRE(rules.size() == 3);
  CHECK(rules[0].method == AuthType::pam);
  CHECK(rules[0].pam_service.empty());
  CHECK(rules[1].pam_service == "db-users");
  CHECK_FALSE(rules[1].ldap);
  CHECK(rules[2].method == AuthType::ldap);
  REQUIRE(rules[2].ldap);
  CHECK(rules[2].ldap->uris == "ldap://a:389 ldap://b:389");
  CHECK(rules[2].ldap->base == "dc=x, dc=y");
  CHECK(rules[2].ldap->bind_dn == "cn=reader, dc=x");
  CHECK(rules[2].ldap->bind_password == "it's, #1");
}

TEST_CASE("hba file: a line goes on after a backslash, and errors name its beginning") {
  const auto rules = Rules("host all \\\n  alice, \\\n bob all md5\nlocal all all trust\n").read();
  REQUIRE(rules.size() == 2);
  CHECK(names(rules[0].users) == Texts{"alice", "bob"});
  CHECK(rules[0].line == 1);
  CHECK(rules[1].line == 4);
  CHECK(Rules("# a comment goes on too \\\nnonsense\nlocal all all trust\\").read().size() == 1);
  CHECK(Rules("local all all trust\nhost all \\\n all \\\n nowhere/8 trust\n").errors() ==
        Texts{"hba.conf:2: expected an IPv4 or IPv6 address; found \"nowhere/8\""});
}

TEST_CASE("hba file: every error has its line") {
  struct Wrong {
    const char* line;
    const char* error;
  };
  for (const Wrong& wrong : {
           Wrong{"hosts all all all trust", "expected local, host, hostssl or hostnossl; found \"hosts\""},
           {"local,host all all all trust", "expected a connection type; found a list"},
           {"hostgssenc all all all trust", "\"hostgssenc\": GSSAPI encryption is not supported"},
           {"local", "expected a database here; the line ends"},
           {"local all", "expected a user here; the line ends"},
           {"host all all", "expected an address here; the line ends"},
           {"local all all", "expected a method here; the line ends"},
           {"host all all 10.0.0.0/8", "expected a method here; the line ends"},
           {"host all all 10.0.0.0", "expected a mask after the address; the line ends"},
           {"local samerole all trust", "\"samerole\" is not supported: Bezel does not know which groups a user is in"},
           {"local samegroup all trust",
            "\"samegroup\" is not supported: Bezel does not know which groups a user is in"},
           {"local all +admins trust",
            "\"+admins\": groups are not supported: Bezel does not know which users are in them"},
           {"local /^db all trust", "\"/^db\": regular expressions are not supported here"},
           {"local all \"/^x\" trust", "\"/^x\": regular expressions are not supported here"},
           {"host all all samehost trust", "\"samehost\" is not supported: give the addresses"},
           {"host all all samenet trust", "\"samenet\" is not supported: give the addresses"},
           {"host all all db.example trust", "\"db.example\": host names are not supported: give an address"},
           {"host all all .example trust", "\".example\": host names are not supported: give an address"},
           {"host all all 10.0.0.0/33 trust", "expected a length from 0 to 32 after the /; found \"10.0.0.0/33\""},
           {"host all all ::/129 trust", "expected a length from 0 to 128 after the /; found \"::/129\""},
           {"host all all 10.0.0.0/ trust", "expected a length from 0 to 32 after the /; found \"10.0.0.0/\""},
           {"host all all 10.0.0.0/-1 trust", "expected a length from 0 to 32 after the /; found \"10.0.0.0/-1\""},
           {"host all all 10.0.0 trust", "expected an IPv4 or IPv6 address; found \"10.0.0\""},
           {"host all all fe80::1%eth0 trust", "expected an IPv4 or IPv6 address; found \"fe80::1%eth0\""},
           {"host all all 10.0.0.1,10.0.0.2 trust", "expected an address; found a list"},
           {"host all all 10.0.0.1 trust",
            "expected a mask after the address, or a length (/32) at it; found \"trust\""},
           {"host all all 10.0.0.0 ffff:: trust", "the address and the mask are of different families"},
           {"local all all ident", "method \"ident\" is not supported"},
           {"local all all radius", "method \"radius\" is not supported"},
           {"local all all any",
            "expected trust, reject, md5, password, scram-sha-256, cert, peer, pam or ldap; found \"any\""},
           {"local all all 127.0.0.1/32 trust",
            "expected trust, reject, md5, password, scram-sha-256, cert, peer, pam or ldap; found \"127.0.0.1/32\""},
           {"local all all pam pamservice=../shadow",
            "pamservice: expected the name of a PAM service (lower-case letters, digits, - and _); found "
            "\"../shadow\""},
           {"local all all pam pam_use_hostname=1", "option \"pam_use_hostname\" is not supported with this method"},
           {"local all all pam ldapserver=x", "option \"ldapserver\" is not supported with this method"},
           {"local all all ldapbindpasswd=hidden ldap",
            "expected trust, reject, md5, password, scram-sha-256, cert, peer, pam or ldap; found \"ldapbindpasswd\""},
           {"local all all ldap ldapserver=x ldapbindpasswd=hidden part=of",
            "expected name=value as an option; found something else (a value with blanks or commas stands in double "
            "quotes)"},
           {"local all all md5 ldapbindpasswd=hidden", "option \"ldapbindpasswd\" is not supported with this method"},
           {"local all all ldap", "expected ldapserver or ldapurl; found none"},
           {"local all all ldap pamservice=x", "option \"pamservice\" is not supported with this method"},
           {"local all all ldap ldapserver=x ldapbasedn=dc=a,dc=b", "option \"dc\" is not supported with this method"},
           {"local all all ldap ldapserver=x ldapbasedn=a ldapbindpasswd=two words",
            "expected name=value as an option; found something else (a value with blanks or commas stands in double "
            "quotes)"},
           {"host all all all peer", "method peer is for local connections only"},
           {"host all all all cert", "method cert is for hostssl connections only"},
           {"local all all md5 map=x", "option map is for the methods cert and peer only"},
           {"local all all peer map=x", "map \"x\" is not in auth_ident_file"},
           {"local all all peer x", "expected name=value as an option; found \"x\""},
           {"hostssl all all all md5 clientcert=verify-full",
            "option \"clientcert=verify-full\" is not supported with this method"},
           {"hostssl all all all cert clientcert=verify-ca",
            "option \"clientcert=verify-ca\" is not supported with this method"},
           {"local all \"alice trust", "unterminated quoted string"},
           {"include", "expected one file after include"},
           {"include a b", "expected one file after include"},
           {"include_dir a,b", "expected one file after include_dir"},
       }) {
    CAPTURE(std::string(wrong.line));
    CHECK(error(wrong.line) == wrong.error);
  }
  CHECK(error("include none.conf").ends_with("none.conf: cannot be opened: No such file or directory"));
  CHECK(error("local @none.txt all trust").ends_with("none.txt: cannot be opened: No such file or directory"));
  CHECK(error("include_dir none").find("none: cannot be read: ") != std::string::npos);
  CHECK(error(std::string("local all all tr\0ust", 20)) == "found a byte of value 0");
}

TEST_CASE("hba file: all errors come out, and then there are no settings") {
  CHECK(Rules("local all all\nhost all all all trust\nbad\n").errors() ==
        Texts{"hba.conf:1: expected a method here; the line ends",
              "hba.conf:3: expected local, host, hostssl or hostnossl; found \"bad\""});
  CHECK(Rules("# nothing\n").errors() == Texts{"hba.conf: expected at least one rule; found none"});
  const ConfigFolder folder;
  CHECK(folder.errors("auth_type: hba\n") ==
        Texts{"bezel.yaml: auth_hba_file: expected a file name, as auth_type is hba; found none"});
  CHECK(folder.errors("auth_hba_file: none.conf\n") ==
        Texts{"bezel.yaml:2: auth_hba_file: none.conf: cannot be opened: No such file or directory"});
  CHECK(folder.errors("auth_ident_file: none.conf\n") ==
        Texts{"bezel.yaml:2: auth_ident_file: none.conf: cannot be opened: No such file or directory"});
  CHECK(folder.errors("auth_type: cert\n") ==
        Texts{"bezel.yaml:2: auth_type: cert needs TLS: client_tls_sslmode and client_tls_ca_file must be given too"});
}

TEST_CASE("hba file: included files and lists of names") {
  const Rules rules(
      "include more/first.conf\n"
      "include_if_exists not_there.conf\n"
      "include_dir more/rest\n"
      "local @dbs.txt @empty.txt,carol md5\n"
      "local all @empty.txt md5\n");
  rules.folder.write("more/first.conf", "local first all trust\ninclude second.conf\n");
  rules.folder.write("more/second.conf", "local second all trust\n");
  rules.folder.write("more/rest/b.conf", "local b all trust");
  rules.folder.write("more/rest/a.conf", "local a all trust\n");
  rules.folder.write("more/rest/.hidden.conf", "nonsense\n");
  rules.folder.write("more/rest/notes.txt", "nonsense\n");
  rules.folder.write("dbs.txt", "one two, three # four\n@more/dbs.txt\n");
  rules.folder.write("more/dbs.txt", "\"five six\"\nsameuser\n");
  rules.folder.write("empty.txt", "# nobody\n");
  const auto read = rules.read();
  REQUIRE(read.size() == 6);
  CHECK(names(read[0].databases) == Texts{"first"});
  CHECK(names(read[1].databases) == Texts{"second"});
  CHECK(names(read[2].databases) == Texts{"a"});
  CHECK(names(read[3].databases) == Texts{"b"});
  CHECK(names(read[4].databases) == Texts{"five six", "one", "three", "two"});
  CHECK(read[4].databases.same_user);
  CHECK(names(read[4].users) == Texts{"carol"});
  CHECK(names(read[5].users).empty());
  CHECK(read[1].line == 1);
  rules.folder.write("more/second.conf", "\n\nlocal second all rust\n");
  CHECK(rules.errors() == Texts{"more/second.conf:3: expected trust, reject, md5, password, scram-sha-256, cert, "
                                "peer, pam or ldap; found \"rust\""});
}

TEST_CASE("hba file: all that the rules depend on is to be watched, and with an error too") {
  const Rules rules("include a.conf\ninclude_if_exists maybe.conf\ninclude_dir rest\nlocal @dbs all md5\n",
                    "include maps.conf\n");
  rules.folder.write("a.conf", "local all all trust\n");
  rules.folder.write("rest/b.conf", "local all all trust\n");
  rules.folder.write("dbs", "one\n");
  rules.folder.write("maps.conf", "m root app\n");
  LoadResult loaded = rules.folder.load(kYaml);
  REQUIRE(loaded.ok());
  const auto watched = [&rules](const pool::Settings& settings) {
    std::set<std::string> paths;
    for (const std::string& path : named_files(settings)) {
      if (!path.empty()) paths.insert(path.substr(rules.folder.path("").size()));
    }
    return Texts(paths.begin(), paths.end());
  };
  pool::Settings settings = *loaded.settings;
  REQUIRE(settings.client_tls_dheparams == "auto");
  CHECK(watched(settings) == Texts{"a.conf", "dbs", "hba.conf", "ident.conf", "maps.conf", "maybe.conf", "rest/.",
                                   "rest/b.conf", "userlist.txt"});
  rules.folder.write("hba.conf", "include_dir missing\ninclude c.conf\nlocal all all trust\n");
  rules.folder.write("c.conf", "nonsense\n");
  CHECK(read_named_files(settings).size() == 2);
  CHECK(watched(settings) == Texts{"c.conf", "hba.conf", "ident.conf", "maps.conf", "missing/.", "userlist.txt"});
}

TEST_CASE("files that settings name: words are no files") {
  pool::Settings settings;
  const auto names = [&settings](const std::string& name) {
    const std::vector<std::string> files = named_files(settings);
    return std::count(files.begin(), files.end(), name);
  };
  for (const char* word : {"auto", "none", "/etc/bezel/dh.pem"}) {
    CAPTURE(word);
    settings.client_tls_dheparams = word;
    CHECK(names(word) == (word[0] == '/' ? 1 : 0));
  }
}

TEST_CASE("hba file: includes are bounded") {
  const Rules circle("include hba.conf\nlocal all all trust\n");
  CHECK(circle.errors() == Texts{"hba.conf:1: hba.conf: files are included more than 10 deep"});
  const Rules names("local @names.txt all trust\n");
  names.folder.write("names.txt", "@names.txt\n");
  CHECK(names.errors() == Texts{"names.txt:1: names.txt: files are included more than 10 deep"});
  // Each file twice by the next one.
  const Rules bush("include f0.conf\nlocal all all trust\n");
  for (int i = 0; i < 9; i++) {
    std::string lines;
    for (int copy = 0; copy < 4; copy++) lines += fmt::format("include f{}.conf\n", i + 1);
    bush.folder.write(fmt::format("f{}.conf", i), lines);
  }
  bush.folder.write("f9.conf", "local all all trust\n");
  const Texts errors = bush.errors();
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].ends_with("expected at most 1000 included files"));
  const Rules long_one("");
  std::string many;
  for (size_t i = 0; i <= kHbaLinesMax; i++) many += "local a b md5\n";
  long_one.folder.write("hba.conf", many);
  CHECK(long_one.errors() == Texts{"hba.conf:100001: expected at most 100000 lines"});
}

TEST_CASE("ident file: maps, and every error") {
  const auto rules = Rules("local all all peer map=m\nlocal all all peer map=\"n o\"\n",
                           "# MAP SYSTEM DATABASE\n"
                           "m root postgres\n"
                           "m \"/^(.*) of (.*), inc$\" \\1\n"
                           "\"n o\" root all\n")
                         .read();
  REQUIRE(rules.size() == 2);
  CHECK(rules[0].map->allows("root", "postgres"));
  CHECK(rules[0].map->allows("alice of x, inc", "alice"));
  CHECK_FALSE(rules[0].map->allows("root", "alice"));
  CHECK(rules[1].map->allows("root", "alice"));

  const Texts errors = Rules("local all all trust\n",
                             "m root\n"
                             "m root a b\n"
                             "m root a,b\n"
                             "m root +admins\n"
                             "m root /^x\n"
                             "m /( x\n"
                             "m /x \\1\n"
                             "m \"\" x\n"
                             "m\n")
                           .errors();
  REQUIRE(errors.size() == 9);
  CHECK(errors[0] == "ident.conf:1: expected a map, a system user and a database user; found 2 fields");
  CHECK(errors[1] == "ident.conf:2: expected a map, a system user and a database user; found 4 fields");
  CHECK(errors[2] == "ident.conf:3: expected one name in each field; found a list");
  CHECK(errors[3] == "ident.conf:4: \"+admins\": groups are not supported: Bezel does not know them");
  CHECK(errors[4] == "ident.conf:5: \"/^x\": a regular expression is supported for the system user only");
  CHECK(errors[5].starts_with("ident.conf:6: invalid regular expression \"(\": "));
  CHECK(errors[6].starts_with("ident.conf:7: regular expression \"x\" has no parentheses"));
  CHECK(errors[7] == "ident.conf:8: expected a system user; found an empty name");
  CHECK(errors[8] == "ident.conf:9: expected a map, a system user and a database user; found 1 field");
}

TEST_CASE("hba file: without auth_type hba it is read, and has no effect") {
  const Rules rules("host all all all reject\n");
  const LoadResult result = rules.folder.load("auth_hba_file: hba.conf\nauth_ident_file: ident.conf\n");
  REQUIRE(result.ok());
  const Texts warnings = rules.folder.texts(result.warnings);
  CHECK(std::count(warnings.begin(), warnings.end(),
                   "bezel.yaml:2: auth_hba_file: has no effect, as auth_type is not hba") == 1);
  REQUIRE(result.settings->hba_rules);
  CHECK(result.settings->hba_rules->match(client_at("192.0.2.1"))->method == AuthType::reject);
}
