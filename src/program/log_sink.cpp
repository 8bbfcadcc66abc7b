#include "src/program/log_sink.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace bezel::program {

namespace {

spdlog::level::level_enum spdlog_level(pool::LogLevel level) {
  switch (level) {
    case pool::LogLevel::error:
      return spdlog::level::err;
    case pool::LogLevel::warning:
      return spdlog::level::warn;
    case pool::LogLevel::info:
      return spdlog::level::info;
    case pool::LogLevel::debug:
      return spdlog::level::debug;
    case pool::LogLevel::trace:
      return spdlog::level::trace;
  }
  return spdlog::level::info;
}

}  // namespace

std::string LogSink::open(const pool::Settings& settings) {
  try {
    spdlog::sink_ptr sink;
    if (settings.logfile.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(settings.logfile);
    }
    auto logger = std::make_shared<spdlog::logger>("bezel", std::move(sink));
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %z [%P] %l: %v");
    logger->set_level(spdlog::level::from_str(settings.log_level));
    logger->flush_on(spdlog::level::trace);
    spdlog::set_default_logger(std::move(logger));
    return "";
  } catch (const spdlog::spdlog_ex& error) {
    return error.what();
  }
}

void LogSink::write(pool::LogLevel level, std::string_view line) const {
  spdlog::default_logger_raw()->log(spdlog_level(level), spdlog::string_view_t(line.data(), line.size()));
}

bool LogSink::enabled(pool::LogLevel level) const {
  return spdlog::default_logger_raw()->should_log(spdlog_level(level));
}

}  // namespace bezel::program
