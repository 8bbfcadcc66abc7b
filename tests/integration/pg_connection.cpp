#include "integration/pg_connection.h"

#include <poll.h>

#include <stdexcept>

#include "integration/waiting.h"

namespace bezel::integration {

namespace {

std::vector<const char*> pointers(const std::vector<std::string>& texts) {
  std::vector<const char*> result;
  for (const std::string& text : texts) result.push_back(text.c_str());
  return result;
}

}  // namespace

bool PgResult::ok() const {
  switch (status()) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_SINGLE_TUPLE:
    case PGRES_PIPELINE_SYNC:
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_EMPTY_QUERY:
      return true;
    default:
      return false;
  }
}

std::string PgResult::value(int row, int column) const {
  if (row < 0 || row >= rows() || column < 0 || column >= PQnfields(result_.get())) return "";
  return {PQgetvalue(result_.get(), row, column), static_cast<size_t>(PQgetlength(result_.get(), row, column))};
}

std::string PgResult::field(int code) const {
  const char* text = PQresultErrorField(result_.get(), code);
  return text != nullptr ? text : "";
}

PgConnection::PgConnection(const std::string& conninfo)
    : connection_(PQconnectdb(conninfo.c_str()), &PQfinish), notices_(std::make_unique<std::vector<std::string>>()) {
  PQsetNoticeProcessor(
      get(),
      [](void* notices, const char* text) { static_cast<std::vector<std::string>*>(notices)->emplace_back(text); },
      notices_.get());
}

std::string PgConnection::complaints() const {
  std::string text = error();
  for (const std::string& notice : *notices_) text += notice;
  return text;
}

PgResult PgConnection::exec(const std::string& sql) {
  return PgResult(PQexec(get(), sql.c_str()));
}

PgResult PgConnection::exec_params(const std::string& sql, const std::vector<std::string>& parameters) {
  return PgResult(PQexecParams(get(), sql.c_str(), static_cast<int>(parameters.size()), nullptr,
                               pointers(parameters).data(), nullptr, nullptr, 0));
}

PgResult PgConnection::prepare(const std::string& name, const std::string& sql) {
  return PgResult(PQprepare(get(), name.c_str(), sql.c_str(), 0, nullptr));
}

PgResult PgConnection::exec_prepared(const std::string& name, const std::vector<std::string>& parameters) {
  return PgResult(PQexecPrepared(get(), name.c_str(), static_cast<int>(parameters.size()), pointers(parameters).data(),
                                 nullptr, nullptr, 0));
}

std::string PgConnection::value(const std::string& sql) {
  const PgResult result = exec(sql);
  if (!result.ok()) throw std::runtime_error(sql + ": " + error());
  return result.value();
}

void PgConnection::send(const std::string& sql) {
  if (PQsendQuery(get(), sql.c_str()) != 1) throw std::runtime_error(sql + ": " + error());
}

PgResult PgConnection::next_result() {
  wait_until("a result has come", [this] {
    PQflush(get());
    if (PQisBusy(get()) == 0) return true;
    pollfd descriptor{PQsocket(get()), POLLIN, 0};
    poll(&descriptor, 1, 100);
    return PQconsumeInput(get()) == 0 || PQisBusy(get()) == 0;
  });
  return PgResult(PQgetResult(get()));
}

PgResult PgConnection::last_result() {
  PgResult last(nullptr);
  while (true) {
    PgResult result = next_result();
    if (result.get() == nullptr) return last;
    last = std::move(result);
  }
}

std::string PgConnection::parameter_status(const char* name) const {
  const char* value = PQparameterStatus(get(), name);
  return value != nullptr ? value : "";
}

}  // namespace bezel::integration
