// Calls a target without libFuzzer, and so with any compiler: with every seed of a folder, and then with changed ones,
// which are the same every time.
//
//   replay_<target> FOLDER CHANGED    CHANGED: how many of the latter
//   replay_<target> FILE              that input alone

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/target.h"
#include "tests/simulation/random.h"

namespace {

using bezel::simulation::Random;

constexpr size_t kInputBytesMax = 4096;
constexpr int kChangesMax = 4;

/// The input under way, and where it is written when it crashes.
std::string current_name, current_input, crash_file;

void run(std::string name, std::string input) {
  current_name = std::move(name);
  current_input = std::move(input);
  // Of its own size: AddressSanitizer finds who reads past its end.
  const std::vector<uint8_t> bytes(current_input.begin(), current_input.end());
  LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
}

/// A target ends by abort(), or by a sanitizer that does so, or it crashes: the input is kept first.
void save_input(int number) {
  std::fprintf(stderr, "%s fails; it is in %s\n", current_name.c_str(), crash_file.c_str());
  std::ofstream(crash_file, std::ios::binary) << current_input;
  std::signal(number, SIG_DFL);
  std::raise(number);
}

void catch_ends() {
  std::signal(SIGABRT, save_input);
  for (const int number : {SIGSEGV, SIGBUS, SIGFPE}) {
    // A sanitizer knows more to say about it.
    const auto before = std::signal(number, save_input);
    if (before != SIG_DFL) std::signal(number, before);
  }
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::string random_piece(const std::string& text, Random& random) {
  if (text.empty()) return {};
  return text.substr(random.below(text.size()), 1 + random.below(random.chance(50) ? 8 : 64));
}

/// Changes one thing. `other`: a seed to take pieces of.
void change(std::string& input, const std::string& other, Random& random) {
  const size_t at = random.below(input.size() + 1);
  switch (random.below(6)) {
    case 0:
      if (at < input.size()) input[at] = static_cast<char>(input[at] ^ (1 << random.below(8)));
      return;
    case 1:
      if (at < input.size()) input[at] = static_cast<char>(random.chance(30) ? 0xff : random.below(256));
      return;
    case 2:
      input.insert(at, 1 + random.below(4), static_cast<char>(random.below(256)));
      return;
    case 3:
      input.erase(at, 1 + random.below(random.chance(70) ? 4 : 64));
      return;
    case 4:
      input.insert(at, random_piece(other, random));
      return;
    default:
      input.insert(at, random_piece(input, random));
      return;
  }
}

void run_changed(const std::vector<std::string>& seeds, size_t count) {
  Random random(1);
  for (size_t i = 0; i < count; i++) {
    std::string input = random.pick(seeds);
    for (int64_t left = random.between(1, kChangesMax); left > 0; left--) change(input, random.pick(seeds), random);
    if (input.size() > kInputBytesMax) input.resize(kInputBytesMax);
    run("changed input " + std::to_string(i), std::move(input));
  }
}

}  // namespace

int main(int argc, char** argv) {
  size_t changed = 0;
  if (argc == 3) {
    const std::string_view text = argv[2];
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), changed);
    if (error != std::errc() || end != text.data() + text.size()) argc = 0;
  }
  if (argc != 2 && argc != 3) {
    std::fprintf(stderr, "usage: %s FOLDER CHANGED | FILE\n", argv[0]);
    return 2;
  }
  crash_file = std::filesystem::absolute(std::filesystem::path(argv[0]).filename()).string() + ".crash";
  catch_ends();
  if (argc == 2) {
    if (!std::filesystem::is_regular_file(argv[1])) {
      std::fprintf(stderr, "%s is no file\n", argv[1]);
      return 2;
    }
    run(argv[1], read_file(argv[1]));
    return 0;
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> seeds;
  for (const auto& path : paths) {
    seeds.push_back(read_file(path));
    run(path.string(), seeds.back());
  }
  if (seeds.empty()) {
    std::fprintf(stderr, "%s has no seeds\n", argv[1]);
    return 1;
  }
  run_changed(seeds, changed);
  std::printf("%zu seeds, %zu changed ones\n", seeds.size(), changed);
  return 0;
}
