#include "integration/slapd_server.h"

#include <sys/stat.h>

#include <stdexcept>

#include "integration/loopback.h"
#include "integration/waiting.h"

namespace bezel::integration {

namespace {

std::string unit(const std::string& name, const std::string& below) {
  return "dn: ou=" + name + "," + below + "\nobjectClass: organizationalUnit\nou: " + name + "\n\n";
}

std::string person(const std::string& name, const std::string& below) {
  return "dn: uid=" + name + "," + below + "\nobjectClass: inetOrgPerson\nuid: " + name + "\ncn: " + name +
         "\nsn: x\nmail: " + name + "@example.net\nuserPassword: " + name + "-ldap\n\n";
}

std::string entries() {
  const std::string top = "dc=example,dc=net", people = "ou=people," + top, far = "ou=far," + people,
                    staff = "ou=staff," + top;
  return "dn: " + top + "\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: x\n\n" + "dn: cn=reader," +
         top + "\nobjectClass: person\ncn: reader\nsn: x\nuserPassword: " + SlapdServer::kReaderPassword + "\n\n" +
         unit("people", top) + unit("far", people) + unit("staff", top) + person("alice", people) + person("bob", far) +
         person("carol", staff) + person("twin", people) + person("twin", far);
}

}  // namespace

SlapdServer::SlapdServer() : port_(next_port()), tls_port_(next_port()) {
  const std::string configuration = write_configuration();
  load(configuration);
  const std::string plain = "ldap://" + own_address() + ":" + std::to_string(port_) + "/";
  const std::string encrypted = "ldaps://" + own_address() + ":" + std::to_string(tls_port_) + "/";
  process_ = std::make_unique<ChildProcess>(ChildProcess::Program{
      {"/usr/sbin/slapd", "-d", "stats", "-f", configuration, "-h", plain + " " + encrypted}, folder_.path_of("log")});
  wait_until("slapd listens", [this] {
    if (!process_->running()) throw std::runtime_error("slapd has ended: " + log());
    return log().find("slapd starting") != std::string::npos;
  });
}

std::string SlapdServer::write_configuration() {
  const Certificate certificate = authority_.issue("slapd", "slapd", {"IP:" + own_address()});
  const std::string data = folder_.path_of("data");
  mkdir(data.c_str(), 0700);
  std::string text;
  for (const char* schema : {"core", "cosine", "inetorgperson"}) {
    text += std::string("include /etc/ldap/schema/") + schema + ".schema\n";
  }
  text += "modulepath /usr/lib/ldap\nmoduleload back_mdb\n";
  text += "TLSCACertificateFile " + authority() + "\n";
  text += "TLSCertificateFile " + certificate.certificate + "\nTLSCertificateKeyFile " + certificate.key + "\n";
  text += "database mdb\nsuffix dc=example,dc=net\ndirectory " + data + "\n";
  text += "access to attrs=userPassword by anonymous auth by * none\n";
  text += "access to dn.subtree=ou=staff,dc=example,dc=net by dn.exact=cn=reader,dc=example,dc=net read by * none\n";
  text += "access to * by * read\n";
  return folder_.write("slapd.conf", text);
}

void SlapdServer::load(const std::string& configuration) {
  ChildProcess program({{"/usr/sbin/slapadd", "-f", configuration, "-l", folder_.write("entries.ldif", entries())},
                        folder_.path_of("slapadd.log")});
  if (program.wait_for_end() != 0) throw std::runtime_error("slapadd failed: " + program.log());
}

}  // namespace bezel::integration
