#include "integration/certificates.h"

#include <cstdio>
#include <stdexcept>

#include "integration/child_process.h"

namespace bezel::integration {

namespace {

void openssl(const TemporaryFolder& folder, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "/usr/bin/openssl");
  ChildProcess program({arguments, folder.path_of("openssl.log")});
  if (program.wait_for_end() != 0) throw std::runtime_error("openssl failed: " + program.log());
}

void replace(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) throw std::runtime_error("rename " + from);
}

}  // namespace

CertificateAuthority::CertificateAuthority(const std::string& common_name)
    : own_{folder_.path_of("authority.crt"), folder_.path_of("authority.key")} {
  openssl(folder_, {"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
                    "-subj", "/CN=" + common_name, "-keyout", own_.key, "-out", own_.certificate});
}

Certificate CertificateAuthority::issue(const std::string& file_name, const std::string& common_name,
                                        const std::vector<std::string>& names) {
  const Certificate issued{folder_.path_of(file_name + ".crt"), folder_.path_of(file_name + ".key")};
  const std::string request = folder_.path_of(file_name + ".csr"), made = folder_.path_of(file_name + ".new");
  std::string extensions = "basicConstraints=CA:FALSE\n";
  for (size_t i = 0; i < names.size(); i++) extensions += (i == 0 ? "subjectAltName=" : ",") + names[i];
  const std::string extension_file = folder_.write(file_name + ".ext", extensions + "\n");
  openssl(folder_, {"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                    "/CN=" + common_name, "-keyout", made + ".key", "-out", request});
  openssl(folder_, {"x509", "-req", "-in", request, "-CA", own_.certificate, "-CAkey", own_.key, "-CAcreateserial",
                    "-days", "1", "-extfile", extension_file, "-out", made + ".crt"});
  replace(made + ".key", issued.key);
  replace(made + ".crt", issued.certificate);
  return issued;
}

std::string CertificateAuthority::revoke(const Certificate& certificate) {
  const std::string configuration =
      folder_.write("ca.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=" + folder_.write("index.txt", "") +
                                  "\ndefault_md=sha256\ndefault_crl_days=1\ncertificate=" + own_.certificate +
                                  "\nprivate_key=" + own_.key + "\n");
  openssl(folder_, {"ca", "-config", configuration, "-revoke", certificate.certificate});
  std::string list = folder_.path_of("revoked.pem");
  openssl(folder_, {"ca", "-config", configuration, "-gencrl", "-out", list});
  return list;
}

}  // namespace bezel::integration
