#include "src/program/hash_command.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/scram.h"

namespace bezel::program {

namespace {

/// As long as a client may send one.
constexpr size_t kPasswordBytesMax = 64 * 1024;

constexpr int kEndingSignals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
volatile std::sig_atomic_t caught_signal = 0;

void catch_signal(int number) {
  caught_signal = number;
}

/// A password, erased with the object. Its room is made at once: growing would leave copies behind.
struct Password {
  std::string text;

  Password() { text.reserve(kPasswordBytesMax + 1); }
  ~Password() { OPENSSL_cleanse(text.data(), text.capacity()); }
  Password(const Password&) = delete;
  Password& operator=(const Password&) = delete;
};

/// A terminal without echo. Signals that would end the program only interrupt the reading: the echo must come back.
class SilentTerminal {
 public:
  SilentTerminal() {
    struct sigaction action {};
    action.sa_handler = catch_signal;  // without SA_RESTART
    for (size_t i = 0; i < old_actions_.size(); i++) sigaction(kEndingSignals[i], &action, &old_actions_[i]);
    struct sigaction ignore {};
    ignore.sa_handler = SIG_IGN;
    sigaction(SIGTSTP, &ignore, &old_stop_);
    is_silent_ = tcgetattr(STDIN_FILENO, &old_) == 0;
    termios silent = old_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    silent.c_lflag |= ECHONL;
    is_silent_ = is_silent_ && tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent) == 0;
  }
  ~SilentTerminal() {
    if (is_silent_) tcsetattr(STDIN_FILENO, TCSAFLUSH, &old_);
    for (size_t i = 0; i < old_actions_.size(); i++) sigaction(kEndingSignals[i], &old_actions_[i], nullptr);
    sigaction(SIGTSTP, &old_stop_, nullptr);
    if (caught_signal != 0) std::raise(caught_signal);
  }
  SilentTerminal(const SilentTerminal&) = delete;
  SilentTerminal& operator=(const SilentTerminal&) = delete;

  bool is_silent() const { return is_silent_; }

 private:
  termios old_{};
  bool is_silent_ = false;
  std::array<struct sigaction, std::size(kEndingSignals)> old_actions_{};
  struct sigaction old_stop_ {};
};

enum class LineEnd { line, input, too_long, failure };

/// Reads one line, without its end. Byte by byte: what follows it stays unread, and no buffer keeps a copy.
LineEnd read_line(std::string& line) {
  line.clear();
  while (true) {
    char byte = 0;
    const ssize_t got = read(STDIN_FILENO, &byte, 1);
    if (got < 0 && errno == EINTR && caught_signal == 0) continue;
    if (got < 0) return LineEnd::failure;
    if (got == 0 || byte == '\n') {
      if (line.ends_with('\r')) line.pop_back();
      return got == 0 ? LineEnd::input : LineEnd::line;
    }
    if (line.size() > kPasswordBytesMax) return LineEnd::too_long;
    line.push_back(byte);
  }
}

/// What is wrong with the password, or with reading it; nothing when it can be used.
const char* fault_of(LineEnd end, const std::string& password) {
  if (end == LineEnd::failure) return "could not read the password";
  if (end == LineEnd::too_long || password.size() > kPasswordBytesMax) return "the password is longer than 65536 bytes";
  if (password.empty()) return "the password is empty: PostgreSQL lets nobody log in with that";
  if (password.find('\0') != std::string::npos) return "the password has a zero byte, which no client can send";
  return nullptr;
}

const char* ask_twice(Password& password) {
  const SilentTerminal terminal;
  if (!terminal.is_silent()) return "could not turn the terminal's echo off";
  std::fputs("Password: ", stderr);
  if (const char* fault = fault_of(read_line(password.text), password.text)) return fault;
  Password again;
  std::fputs("Once more: ", stderr);
  if (const char* fault = fault_of(read_line(again.text), again.text)) return fault;
  return password.text == again.text ? nullptr : "the two passwords are not the same";
}

const char* read_password(Password& password) {
  if (isatty(STDIN_FILENO) != 0) return ask_twice(password);
  return fault_of(read_line(password.text), password.text);
}

int refuse(const char* reason) {
  std::fprintf(stderr, "bezel hash: %s\n", reason);
  return 1;
}

}  // namespace

int print_verifier(int iterations) {
  Password password;
  if (const char* fault = read_password(password)) return refuse(fault);
  std::array<char, protocol::kScramSaltBytes> random;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(random.data()), static_cast<int>(random.size())) != 1) {
    return refuse("no random bytes for a salt");
  }
  const std::string_view salt(random.data(), random.size());
  const auto keys = protocol::derive_keys(password.text, salt, iterations);
  if (!keys) return refuse("could not derive the keys");
  const std::string verifier = protocol::build_verifier(protocol::make_verifier(*keys, salt, iterations));
  return std::printf("%s\n", verifier.c_str()) > 0 && std::fflush(stdout) == 0 ? 0 : refuse("could not write");
}

}  // namespace bezel::program
