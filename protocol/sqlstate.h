#pragma once

#include <string_view>

/// The SQLSTATE codes a pooler raises or reacts to, by PostgreSQL's condition names (documentation, appendix
/// "PostgreSQL Error Codes").
namespace bezel::protocol::sqlstate {

inline constexpr std::string_view kSuccessfulCompletion = "00000";
inline constexpr std::string_view kWarning = "01000";

inline constexpr std::string_view kConnectionException = "08000";
inline constexpr std::string_view kSqlclientUnableToEstablishConnection = "08001";
inline constexpr std::string_view kConnectionDoesNotExist = "08003";
inline constexpr std::string_view kRejectedConnection = "08004";
inline constexpr std::string_view kConnectionFailure = "08006";
inline constexpr std::string_view kTransactionResolutionUnknown = "08007";
inline constexpr std::string_view kProtocolViolation = "08P01";

inline constexpr std::string_view kFeatureNotSupported = "0A000";
inline constexpr std::string_view kInvalidParameterValue = "22023";
inline constexpr std::string_view kCharacterNotInRepertoire = "22021";

inline constexpr std::string_view kActiveSqlTransaction = "25001";
inline constexpr std::string_view kReadOnlySqlTransaction = "25006";
inline constexpr std::string_view kNoActiveSqlTransaction = "25P01";
inline constexpr std::string_view kInFailedSqlTransaction = "25P02";
inline constexpr std::string_view kIdleInTransactionSessionTimeout = "25P03";
inline constexpr std::string_view kTransactionTimeout = "25P04";

inline constexpr std::string_view kInvalidSqlStatementName = "26000";
inline constexpr std::string_view kInvalidAuthorizationSpecification = "28000";
inline constexpr std::string_view kInvalidPassword = "28P01";
inline constexpr std::string_view kInvalidCursorName = "34000";
inline constexpr std::string_view kInvalidCatalogName = "3D000";

inline constexpr std::string_view kSerializationFailure = "40001";
inline constexpr std::string_view kInsufficientPrivilege = "42501";
inline constexpr std::string_view kSyntaxError = "42601";
inline constexpr std::string_view kUndefinedObject = "42704";
inline constexpr std::string_view kDuplicatePreparedStatement = "42P05";

inline constexpr std::string_view kInsufficientResources = "53000";
inline constexpr std::string_view kOutOfMemory = "53200";
inline constexpr std::string_view kTooManyConnections = "53300";
inline constexpr std::string_view kConfigurationLimitExceeded = "53400";
inline constexpr std::string_view kProgramLimitExceeded = "54000";

inline constexpr std::string_view kObjectNotInPrerequisiteState = "55000";
inline constexpr std::string_view kObjectInUse = "55006";
inline constexpr std::string_view kCantChangeRuntimeParam = "55P02";

inline constexpr std::string_view kQueryCanceled = "57014";
inline constexpr std::string_view kAdminShutdown = "57P01";
inline constexpr std::string_view kCrashShutdown = "57P02";
inline constexpr std::string_view kCannotConnectNow = "57P03";
inline constexpr std::string_view kDatabaseDropped = "57P04";
inline constexpr std::string_view kIdleSessionTimeout = "57P05";

inline constexpr std::string_view kSystemError = "58000";
inline constexpr std::string_view kIoError = "58030";
inline constexpr std::string_view kConfigFileError = "F0000";
inline constexpr std::string_view kInternalError = "XX000";

}  // namespace bezel::protocol::sqlstate
