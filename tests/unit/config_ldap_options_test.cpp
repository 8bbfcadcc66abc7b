#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "config_folder.h"
#include "src/config/ldap_options.h"
#include "src/config/settings_registry.h"

using namespace bezel;
using namespace bezel::config;
using pool::LdapScope;
using pool::LdapSettings;

namespace {

LdapSettings read(const std::string& text) {
  const LdapOptionsResult result = read_ldap_options(text);
  CHECK(result.error.empty());
  REQUIRE(result.settings);
  return *result.settings;
}

std::string error(const std::string& text) {
  const LdapOptionsResult result = read_ldap_options(text);
  CHECK_FALSE(result.settings);
  return result.error;
}

const std::string kSearch = "ldapserver=x ldapbasedn=dc=a ";

}  // namespace

TEST_CASE("ldap options: simple bind") {
  const LdapSettings both = read("ldapserver=ldap.example.net ldapprefix=\"cn=\" ldapsuffix=\", dc=example, dc=net\"");
  CHECK(both.uris == "ldap://ldap.example.net:389");
  CHECK_FALSE(both.searches);
  CHECK_FALSE(both.start_tls);
  CHECK(both.prefix == "cn=");
  CHECK(both.suffix == ", dc=example, dc=net");
  CHECK(read("ldapserver=x ldapsuffix=@example.net").prefix.empty());
}

TEST_CASE("ldap options: search and bind") {
  const LdapSettings by_uid = read("ldapserver=x, ldapbasedn=\"dc=a,dc=b\", ldaptls=1");
  CHECK(by_uid.searches);
  CHECK(by_uid.start_tls);
  CHECK(by_uid.base == "dc=a,dc=b");
  CHECK(by_uid.filter == "(uid=$username)");
  CHECK(by_uid.scope == LdapScope::sub);
  CHECK(by_uid.bind_dn.empty());
  CHECK(read(kSearch + "ldapsearchattribute=sAMAccountName").filter == "(sAMAccountName=$username)");
  CHECK(read(kSearch + "ldapsearchfilter=(|(uid=$username)(mail=$username))").filter ==
        "(|(uid=$username)(mail=$username))");
  const LdapSettings bound = read(kSearch + "ldapbinddn=cn=reader ldapbindpasswd=\"a \"\"b\"\" #c,d\"");
  CHECK(bound.bind_dn == "cn=reader");
  CHECK(bound.bind_password == "a \"b\" #c,d");
}

TEST_CASE("ldap options: servers, ports and schemes") {
  CHECK(read("ldapserver=\" a  10.0.0.1 \" ldapport=3890 ldapbasedn=x").uris == "ldap://a:3890 ldap://10.0.0.1:3890");
  CHECK(read("ldapserver=\"::1 [fe80::1]\" ldapscheme=ldaps ldapbasedn=x").uris ==
        "ldaps://[::1]:636 ldaps://[fe80::1]:636");
  const LdapSettings url = read("ldapurl=\"ldap://h:12345/dc=example,dc=net?uid?sub\"");
  CHECK(url.uris == "ldap://h:12345");
  CHECK(url.base == "dc=example,dc=net");
  CHECK(url.filter == "(uid=$username)");
  CHECK(url.scope == LdapScope::sub);
  const LdapSettings secure = read("ldapurl=ldaps://h/dc=a%20b??one?(cn=$username)");
  CHECK(secure.uris == "ldaps://h:636");
  CHECK(secure.base == "dc=a b");
  CHECK(secure.scope == LdapScope::one);
  CHECK(secure.filter == "(cn=$username)");
  // As PostgreSQL has it.
  CHECK(read("ldapurl=ldap://h/dc=a").scope == LdapScope::base);
  CHECK(read("ldapurl=ldap://[::1]/dc=a ldapbinddn=cn=r ldapbindpasswd=p ldaptls=1").uris == "ldap://[::1]:389");
}

TEST_CASE("ldap options: errors") {
  CHECK(error("") == "expected ldapserver or ldapurl; found none");
  CHECK(error("ldapbasedn=x") == "expected ldapserver or ldapurl; found none");
  CHECK(error("ldapserver=x") == "expected ldapprefix, ldapsuffix, ldapbasedn, or an ldapurl with a base; found none");
  CHECK(error("ldapserver=x ldapserver=y") == "ldapserver: expected only once");
  CHECK(error("ldapserver=") == "ldapserver: expected a value; found none");
  CHECK(error("ldapserver=\" \"") == "ldapserver: expected a value; found none");
  CHECK(error("ldapserver=x:389 ldapbasedn=a") ==
        "ldapserver: expected names or addresses with blanks between them (the port is ldapport); found \"x:389\"");
  CHECK(error("ldapserver=x/y ldapbasedn=a").starts_with("ldapserver: expected names"));
  std::string many = "ldapserver=\"";
  for (int i = 0; i < 17; i++) many += "h ";
  CHECK(error(many + "\" ldapbasedn=a") == "ldapserver: expected at most 16 servers");
  CHECK(error(kSearch + "ldapport=0") == "ldapport: expected a port number from 1 to 65535; found \"0\"");
  CHECK(error(kSearch + "ldapport=65536") == "ldapport: expected a port number from 1 to 65535; found \"65536\"");
  CHECK(error(kSearch + "ldapscheme=ldapi") == "ldapscheme: expected ldap or ldaps; found \"ldapi\"");
  CHECK(error(kSearch + "ldaptls=yes") == "ldaptls: expected 0 or 1; found \"yes\"");
  CHECK(error(kSearch + "ldaptls=1 ldapscheme=ldaps") == "ldaptls=1 cannot be used together with ldaps");
  CHECK(error(kSearch + "ldapprefix=x") == "ldapbasedn cannot be used together with ldapprefix or ldapsuffix");
  CHECK(error("ldapserver=x ldapsuffix=x ldapbinddn=y") ==
        "ldapbinddn cannot be used together with ldapprefix or ldapsuffix");
  CHECK(error("ldapurl=ldap://h/dc=a ldapprefix=x") == "ldapurl cannot be used together with ldapprefix or ldapsuffix");
  CHECK(error(kSearch + "ldapsearchattribute=a(b") ==
        "ldapsearchattribute: expected the name of an attribute; found \"a(b\"");
  CHECK(error(kSearch + "ldapsearchattribute=a ldapsearchfilter=(b=$username)") ==
        "an attribute to search by cannot be used together with a filter");
  CHECK(error(kSearch + "ldapsearchfilter=(uid=admin)") ==
        "expected $username in the filter: without it one entry would be everybody's");
  CHECK(error("ldapserver=x ldapurl=ldap://h/dc=a") == "ldapurl: ldapserver says the same, expected one of them");
  CHECK(error("ldapurl=ldap:///dc=a?uid?sub") == "ldapurl: expected a host; found none");
  for (const char* url : {"http://h/", "h", "ldapi://%2fsocket/dc=a", "ldap://h/dc=a?uid?deep", "ldap://h:x/dc=a",
                          "ldap://h/dc=a?uid?sub??x=1", "ldap://h/dc=a?a%28b?sub"}) {
    CAPTURE(std::string(url));
    CHECK(error(std::string("ldapurl=") + url).starts_with("ldapurl: expected ldap://host:port/"));
  }
  CHECK(error("ldapserver=\"x") == "unterminated quoted string");
  CHECK(error("ldapsever=x") == "option \"ldapsever\" is not supported with this method");
}

TEST_CASE("ldap options: no error holds a part of the password") {
  const std::string bound = kSearch + "ldapbinddn=cn=r ";
  CHECK(error(kSearch + "ldapbindpasswd=secret") == "expected ldapbinddn along with ldapbindpasswd");
  for (const char* wrong : {"ldapbindpasswd=one secret", "ldapbindpasswd=one,secret", "ldapbindpasswd=one secret=two",
                            "ldapbindpasswd=\"secret", "ldapbindpasswd=secret ldapbindpasswd=secret"}) {
    CAPTURE(std::string(wrong));
    const std::string text = error(bound + wrong);
    CHECK_FALSE(text.empty());
    CHECK(text.find("secret") == std::string::npos);
  }
}

TEST_CASE("ldap options: what is shown of them can be read, but for the password") {
  const std::string text = "ldapserver=\"a b\", ldapbinddn=cn=r ldapbindpasswd=\"x \"\"y\" ldapbasedn=\"dc=a,dc=b\"";
  const std::string shown = ldap_options_without_password(text);
  CHECK(shown == "ldapserver=\"a b\" ldapbinddn=cn=r ldapbindpasswd=******** ldapbasedn=\"dc=a,dc=b\"");
  CHECK(read(shown).uris == read(text).uris);
  CHECK(ldap_options_without_password("").empty());
}

TEST_CASE("auth_ldap_options: errors have file and line, and SHOW CONFIG has no password") {
  const ConfigFolder folder;
  using Texts = std::vector<std::string>;
  CHECK(folder.errors("auth_type: ldap\n") ==
        Texts{"bezel.yaml: auth_ldap_options: expected options, as auth_type is ldap; found none"});
  CHECK(folder.errors("auth_type: ldap\nauth_ldap_options: ldapserver=x ldapbindpasswd=one secret\n") ==
        Texts{"bezel.yaml:3: auth_ldap_options: expected name=value as an option; found something else (a value with "
              "blanks or commas stands in double quotes)"});
  const LoadResult lines = folder.load("auth_type: ldap\nauth_ldap_options: |\n  ldapserver=x\n  ldapbasedn=dc=y\n");
  REQUIRE(lines.ok());
  CHECK(lines.settings->ldap->uris == "ldap://x:389");
  CHECK(lines.settings->ldap->base == "dc=y");
  const LoadResult result =
      folder.load("auth_type: ldap\nauth_ldap_options: ldapserver=x ldapbasedn=y ldapbinddn=z ldapbindpasswd=${PW}\n",
                  {{"PW", "secret"}});
  REQUIRE(result.ok());
  CHECK(result.settings->ldap->bind_password == "secret");
  for (const ConfigRow& row : show_config(*result.settings)) {
    CHECK(row.value.find("secret") == std::string::npos);
    if (row.key == "auth_ldap_options") CHECK(row.value.find("ldapbindpasswd=********") != std::string::npos);
  }
  pool::Settings settings = *result.settings;
  CHECK(set_value(settings, "auth_ldap_options", "ldapserver=y").value_or("") ==
        "auth_ldap_options: change it in the configuration file, then RELOAD");
}

TEST_CASE("auth_type of databases: what it needs besides") {
  const ConfigFolder folder;
  using Texts = std::vector<std::string>;
  CHECK(folder.errors("databases:\n  a: host=x auth_type=peer\n") ==
        Texts{"bezel.yaml:3: databases.a.auth_type: expected trust, any, plain, md5, scram-sha-256, cert, pam, ldap or "
              "hba, found 'peer'"});
  CHECK(folder.errors("databases:\n  a: host=x auth_type=hba\n") ==
        Texts{"bezel.yaml: auth_hba_file: expected a file name, as databases.a.auth_type is hba; found none"});
  CHECK(folder.errors("databases:\n  a: host=x auth_type=cert\n") ==
        Texts{"bezel.yaml:3: databases.a.auth_type: cert needs TLS: client_tls_sslmode and client_tls_ca_file must be "
              "given too"});
  CHECK(folder.errors("databases:\n  a: host=x auth_type=ldap\n") ==
        Texts{"bezel.yaml: auth_ldap_options: expected options, as databases.a.auth_type is ldap; found none"});
  CHECK(folder.errors("databases:\n  a: host=x auth_type=any\n  b: host=x\n") ==
        Texts{"bezel.yaml:3: databases.a: expected a user, as databases.a.auth_type is any; found none"});
  CHECK(folder.errors("auth_type: any\ndatabases:\n  a: host=x\n  b: {host: x, auth_type: md5}\n") ==
        Texts{"bezel.yaml:4: databases.a: expected a user, as auth_type is any; found none"});
  const LoadResult result =
      folder.load("databases:\n  a: host=x auth_type=pam\n  b: {host: x, auth_type: trust}\n  c: host=x\n");
  REQUIRE(result.ok());
  CHECK(result.settings->databases.at("a").auth_type == pool::AuthType::pam);
  CHECK(result.settings->databases.at("b").auth_type == pool::AuthType::trust);
  CHECK_FALSE(result.settings->databases.at("c").auth_type);
}

TEST_CASE("auth_file is needed by those methods only whose users must be known") {
  const ConfigFolder folder;
  const auto load = [&](const std::string& yaml) {
    const LoadResult result = config::load(folder.write("own.yaml", yaml), {});
    return result.ok() ? std::vector<std::string>() : folder.texts(result.errors);
  };
  using Texts = std::vector<std::string>;
  folder.write("pam.conf", "host all all all pam\nhost all all all reject\n");
  folder.write("both.conf", "host all all all pam\nhost all all all md5\n");
  CHECK(load("auth_type: pam\n") == Texts{});
  CHECK(load("auth_type: hba\nauth_hba_file: pam.conf\n") == Texts{});
  CHECK(load("auth_type: hba\nauth_hba_file: both.conf\n") ==
        Texts{"own.yaml: auth_file: expected a file name, as auth_type is hba; found none"});
  CHECK(load("auth_type: pam\ndatabases:\n  a: host=x auth_type=md5\n") ==
        Texts{"own.yaml: auth_file: expected a file name, as databases.a.auth_type is md5; found none"});
  CHECK(load("auth_type: md5\n") ==
        Texts{"own.yaml: auth_file: expected a file name, as auth_type is md5; found none"});
}
