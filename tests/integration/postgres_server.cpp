#include "integration/postgres_server.h"

#include <openssl/pem.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <stdexcept>

#include "integration/loopback.h"
#include "integration/tls_client.h"
#include "integration/waiting.h"

namespace bezel::integration {

namespace {

/// PostgreSQL refuses to run as root.
std::string account() {
  return geteuid() == 0 ? "postgres" : "";
}

constexpr const char* kDefaultHba =
    "local all all scram-sha-256\n"
    "host all all 127.0.0.0/8 scram-sha-256\n";

}  // namespace

PostgresServer::PostgresServer(Kind kind, const PostgresServer* primary) : kind_(kind), port_(next_port()) {
  for (const std::string& name : {folder_.path_of("server"), socket_folder()}) {
    mkdir(name.c_str(), 0755);
    if (const passwd* owner = account().empty() ? nullptr : getpwnam(account().c_str())) {
      if (chown(name.c_str(), owner->pw_uid, owner->pw_gid) != 0) throw std::runtime_error("chown " + name);
    }
  }
  if (primary != nullptr) {
    copy(*primary);
    start();
    return;
  }
  initialise();
  start();
  observer().run("CREATE ROLE app LOGIN PASSWORD 'app-secret'");
  observer().run("CREATE DATABASE app OWNER app");
}

PostgresServer& PostgresServer::shared() {
  static PostgresServer server;
  return server;
}

const std::string& PostgresServer::address() const {
  return own_address();
}

void PostgresServer::initialise() {
  const std::string password_path = folder_.path_of("server/password");
  write_file(password_path, "super\n");
  if (const passwd* owner = account().empty() ? nullptr : getpwnam(account().c_str())) {
    if (chown(password_path.c_str(), owner->pw_uid, owner->pw_gid) != 0) throw std::runtime_error("chown");
  }
  ChildProcess initdb(
      {{std::string(POSTGRESQL_PROGRAMS) + "/initdb", "-D", data(), "-U", "postgres", "-A", "scram-sha-256", "-E",
        "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions", "--pwfile=" + password_path},
       folder_.path_of("initdb.log"),
       {},
       account()});
  if (initdb.wait_for_end() != 0) throw std::runtime_error("initdb failed: " + initdb.log());
}

void PostgresServer::copy(const PostgresServer& primary) {
  ChildProcess backup(
      {{std::string(POSTGRESQL_PROGRAMS) + "/pg_basebackup", "-D", data(), "-h", primary.address(), "-p",
        std::to_string(primary.port()), "-U", "postgres", "-X", "stream", "-c", "fast", "-R", "-N"},
       folder_.path_of("basebackup.log"),
       {"PGPASSWORD=super"},
       account()});
  if (backup.wait_for_end() != 0) throw std::runtime_error("pg_basebackup failed: " + backup.log());
}

void PostgresServer::demote() {
  stop();
  write_file(data() + "/standby.signal", "");
  start();
}

void PostgresServer::promote() {
  observer().run("SELECT pg_promote()");
}

void PostgresServer::start() {
  std::vector<std::string> command = {std::string(POSTGRESQL_PROGRAMS) + "/postgres", "-D", data()};
  for (const std::string& setting :
       {"listen_addresses=" + address(), "port=" + std::to_string(port_), "unix_socket_directories=" + socket_folder(),
        std::string("max_connections=300"), std::string("shared_buffers=64MB"), std::string("fsync=off"),
        std::string("full_page_writes=off"), std::string("synchronous_commit=off"), std::string("autovacuum=off"),
        std::string("max_wal_size=2GB"), std::string(kind_ == Kind::alone ? "wal_level=minimal" : "wal_level=replica"),
        std::string(kind_ == Kind::alone ? "max_wal_senders=0" : "max_wal_senders=8"),
        std::string("max_prepared_transactions=5"), std::string("log_line_prefix=%m [%p] ")}) {
    command.insert(command.end(), {"-c", setting});
  }
  process_ = std::make_unique<ChildProcess>(
      ChildProcess::Program{command, folder_.path_of("postgresql.log"), {"LC_ALL=C.UTF-8", "TZ=UTC"}, account()});
  wait_until("PostgreSQL accepts connections", [this] {
    if (!process_->running()) throw std::runtime_error("PostgreSQL has ended: " + log());
    observer_ = std::make_unique<PgConnection>(conninfo("postgres", "super", "postgres"));
    return observer_->connected();
  });
}

std::string PostgresServer::provide(const std::string& name, const std::string& source) {
  std::string path = folder_.path_of("server/" + name);
  write_file(path, read_file(source));
  if (const passwd* owner = account().empty() ? nullptr : getpwnam(account().c_str())) {
    if (chown(path.c_str(), owner->pw_uid, owner->pw_gid) != 0) throw std::runtime_error("chown " + path);
  }
  return path;
}

void PostgresServer::enable_tls(const Certificate& certificate, const std::string& authority) {
  std::string settings = "ssl = on\n";
  const auto add = [&](const std::string& setting, const std::string& source) {
    settings += setting + " = '" + provide(setting, source) + "'\n";
  };
  add("ssl_cert_file", certificate.certificate);
  add("ssl_key_file", certificate.key);
  if (!authority.empty()) add("ssl_ca_file", authority);
  const std::string path = data() + "/postgresql.conf";
  write_file(path, read_file(path) + settings);
  stop();
  start();
}

void PostgresServer::change_certificate(const Certificate& certificate) {
  provide("ssl_cert_file", certificate.certificate);
  provide("ssl_key_file", certificate.key);
  process_->signal(SIGHUP);
  wait_until("PostgreSQL shows the new certificate", [&] {
    TlsClient client(address(), port_);
    const SSL* const ssl = client.request() == 'S' && client.handshake() == "" ? client.ssl() : nullptr;
    BIO* const file = BIO_new_file(certificate.certificate.c_str(), "r");
    X509* const wanted = PEM_read_bio_X509(file, nullptr, nullptr, nullptr);
    const bool shown = ssl != nullptr && X509_cmp(SSL_get0_peer_certificate(ssl), wanted) == 0;
    X509_free(wanted);
    BIO_free(file);
    return shown;
  });
}

void PostgresServer::stop() {
  observer_.reset();
  process_->signal(SIGINT);
  if (!process_->wait_for_end()) throw std::runtime_error("PostgreSQL does not end");
}

void PostgresServer::kill() {
  const PgResult backends = observer_->exec("SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()");
  process_->signal(SIGSTOP);  // so that it starts no others
  for (int row = 0; row < backends.rows(); row++) ::kill(std::stoi(backends.value(row)), SIGKILL);
  process_->signal(SIGKILL);
  process_->signal(SIGCONT);
  process_->wait_for_end();
  observer_.reset();
  // A process that is a zombie, or gone, has closed its sockets.
  for (int row = 0; row < backends.rows(); row++) {
    wait_until("a backend has ended", [&] {
      const std::string stat = read_file("/proc/" + backends.value(row) + "/stat");
      return stat.empty() || stat.find(") Z ") != std::string::npos;
    });
  }
}

std::string PostgresServer::conninfo(const std::string& user, const std::string& password,
                                     const std::string& database) const {
  return "host=" + address() + " port=" + std::to_string(port_) + " user=" + user + " password=" + password +
         " dbname=" + database + " sslmode=disable gssencmode=disable";
}

PgConnection PostgresServer::superuser(const std::string& database) const {
  PgConnection connection(conninfo("postgres", "super", database));
  if (!connection.connected()) throw std::runtime_error(connection.error());
  return connection;
}

PgConnection& PostgresServer::observer() {
  return *observer_;
}

void PostgresServer::create_user(const std::string& name, const std::string& password, const std::string& encryption) {
  observer().run("SET password_encryption = '" + encryption + "'");
  observer().run("CREATE ROLE \"" + name + "\" LOGIN PASSWORD '" + password + "'");
  observer().run("RESET password_encryption");
}

std::string PostgresServer::stored_secret(const std::string& user) {
  return observer().value("SELECT rolpassword FROM pg_authid WHERE rolname = '" + user + "'");
}

int PostgresServer::backend_count(const std::string& user) {
  return std::stoi(observer().value(
      "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()" +
      (user.empty() ? std::string() : " AND usename = '" + user + "'")));
}

void PostgresServer::set_hba(const std::string& lines) {
  // The file is postgres's own; root may write it, and its owner stays.
  write_file(data() + "/pg_hba.conf", "host all postgres 127.0.0.0/8 scram-sha-256\n" +
                                          (lines.empty() ? std::string(kDefaultHba) : lines + "\n"));
  const std::string before = observer().value("SELECT pg_conf_load_time()");
  observer().run("SELECT pg_reload_conf()");
  wait_until("PostgreSQL has read its files", [&] {
    PgConnection fresh(conninfo("postgres", "super", "postgres"));
    return fresh.connected() && fresh.value("SELECT pg_conf_load_time()") != before;
  });
}

}  // namespace bezel::integration
