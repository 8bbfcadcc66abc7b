#include "integration/child_process.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "integration/temporary_folder.h"
#include "integration/waiting.h"

extern char** environ;

namespace bezel::integration {

namespace {

std::vector<std::string> environment_with(const std::vector<std::string>& changes) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; entry++) {
    const std::string_view text = *entry;
    if (text.substr(0, 2) != "PG") all.emplace_back(text);
  }
  all.insert(all.end(), changes.begin(), changes.end());
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

ChildProcess::ChildProcess(Program program) : log_path_(program.log_path) {
  std::vector<std::string> environment = environment_with(program.environment_changes);
  const std::vector<char*> arguments = pointers(program.command);
  const std::vector<char*> variables = pointers(environment);
  const passwd* account = program.run_as.empty() ? nullptr : getpwnam(program.run_as.c_str());
  if (!program.run_as.empty() && account == nullptr) throw std::runtime_error("no user " + program.run_as);
  const pid_t parent = getpid();
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ > 0) return;
  // Only async-signal-safe calls from here: other threads may have held locks.
  setsid();
  const int log = open(program.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  dup2(program.standard_input >= 0 ? program.standard_input : open("/dev/null", O_RDONLY), 0);
  dup2(log, 1);
  dup2(log, 2);
  for (int fd = 3; fd < 4096; fd++) close(fd);
  if (account != nullptr && (setgid(account->pw_gid) != 0 || setuid(account->pw_uid) != 0)) _exit(127);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);
  if (chdir("/") == 0) execve(arguments[0], arguments.data(), variables.data());
  _exit(127);
}

ChildProcess::~ChildProcess() {
  if (!running()) return;
  kill(pid_, SIGKILL);
  reap(0);
}

void ChildProcess::signal(int number) const {
  if (!status_) kill(pid_, number);
}

void ChildProcess::reap(int options) {
  int status = 0;
  if (status_ || waitpid(pid_, &status, options) != pid_) return;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

bool ChildProcess::running() {
  reap(WNOHANG);
  return !status_;
}

std::optional<int> ChildProcess::wait_for_end() {
  try {
    wait_until("a process has ended", [this] { return !running(); });
  } catch (const std::runtime_error&) {
    return std::nullopt;
  }
  return status_;
}

std::string ChildProcess::log() const {
  return read_file(log_path_);
}

uint64_t ChildProcess::status_kilobytes(const char* key) const {
  std::ifstream file("/proc/" + std::to_string(pid_) + "/status");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind(key, 0) == 0) return std::stoull(line.substr(std::string_view(key).size() + 1));
  }
  return 0;
}

uint64_t ChildProcess::resident_bytes() const {
  return status_kilobytes("VmRSS") * 1024;
}

uint64_t ChildProcess::resident_bytes_peak() const {
  return status_kilobytes("VmHWM") * 1024;
}

uint64_t ChildProcess::cpu_time_us() const {
  const std::string stat = read_file("/proc/" + std::to_string(pid_) + "/stat");
  const size_t end_of_name = stat.rfind(')');
  if (end_of_name == std::string::npos) return 0;
  std::istringstream fields(stat.substr(end_of_name + 2));
  std::string skipped;
  for (int i = 0; i < 11; i++) fields >> skipped;
  uint64_t user_ticks = 0, system_ticks = 0;
  fields >> user_ticks >> system_ticks;
  return (user_ticks + system_ticks) * 1'000'000 / static_cast<uint64_t>(sysconf(_SC_CLK_TCK));
}

size_t ChildProcess::descriptor_count() const {
  const std::filesystem::directory_iterator descriptors("/proc/" + std::to_string(pid_) + "/fd");
  return static_cast<size_t>(std::distance(begin(descriptors), end(descriptors)));
}

}  // namespace bezel::integration
