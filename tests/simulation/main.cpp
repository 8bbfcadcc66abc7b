// The pooler in virtual time: one seed, one run. See world.h.
//
//   simulation --seeds 10000 [--from 1]     many seeds; stops at the first that fails, and shows its log
//   simulation --seed N [--steps M] [-v]    one seed again, M events far; -v prints the log

#include <fmt/format.h>

#include <charconv>
#include <cstdint>
#include <limits>
#include <memory>
#include <string_view>

#include "tests/simulation/world.h"

namespace {

using bezel::simulation::World;

struct Options {
  uint64_t from = 1, seeds = 1000;
  uint64_t steps = std::numeric_limits<uint64_t>::max();
  bool verbose = false;
};

bool read_number(std::string_view text, uint64_t& number) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

bool read_options(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; i++) {
    const std::string_view name = argv[i];
    if (name == "-v") {
      options.verbose = true;
      continue;
    }
    uint64_t number = 0;
    if (i + 1 == argc || !read_number(argv[++i], number)) return false;
    if (name == "--seed") {
      options.from = number;
      options.seeds = 1;
    } else if (name == "--seeds") {
      options.seeds = number;
    } else if (name == "--from") {
      options.from = number;
    } else if (name == "--steps") {
      options.steps = number;
    } else {
      return false;
    }
  }
  return true;
}

void print_log(const World& world) {
  for (const std::string& line : world.log()) fmt::print("{}\n", line);
}

/// Runs it again, with its log.
void explain(uint64_t seed) {
  auto world = std::make_unique<World>(seed, true);
  world->run(std::numeric_limits<uint64_t>::max());
  print_log(*world);
  fmt::print("seed {} fails at step {}: {}\nreplay: simulation --seed {} --steps {} -v\n", seed, world->steps(),
             world->failure(), seed, world->steps());
  static_cast<void>(world.release());  // what is broken is not taken apart
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!read_options(argc, argv, options)) {
    fmt::print(stderr, "usage: simulation [--seed N [--steps M] | --seeds N [--from N]] [-v]\n");
    return 2;
  }
  uint64_t steps = 0, answers = 0, messages = 0, cancels = 0, logins = 0, losses = 0, replays = 0, promotions = 0,
           clusters = 0, switchovers = 0;
  for (uint64_t seed = options.from; seed < options.from + options.seeds; seed++) {
    auto world = std::make_unique<World>(seed, options.verbose);
    const bool good = world->run(options.steps);
    if (options.verbose) print_log(*world);
    if (!good) {
      const std::string failure = world->failure();
      static_cast<void>(world.release());
      explain(seed);
      return 1;
    }
    steps += world->steps();
    answers += world->checked_answers;
    messages += world->checked_messages;
    cancels += world->cancels_hit;
    logins += world->logins;
    losses += world->losses_seen;
    if (const auto* cluster = world->cluster()) {
      clusters++;
      promotions += cluster->promotions();
      switchovers += cluster->switchovers();
    }
    for (const auto& [name, totals] : world->shared().statistics.totals()) replays += totals.replayed;
  }
  fmt::print(
      "{} seeds: {} steps, {} logins, {} messages and {} batches checked, {} queries cancelled, {} requests lost with "
      "their servers, {} replayed, {} promotions in {} clusters, {} by the console\n",
      options.seeds, steps, logins, messages, answers, cancels, losses, replays, promotions, clusters, switchovers);
  return 0;
}
