# Lays the Node programs and their packages out in the build tree (never in the source tree):
#   cmake -DSOURCE=<this folder> -DTARGET=<folder in the build tree> -P install.cmake
# The packages come by `npm ci`, as the lock file says; nothing is fetched while the lock file stays the same.

foreach(program endpoint.js node_postgres_test.js postgres_js_test.js)
  file(COPY "${SOURCE}/${program}" DESTINATION "${TARGET}")
endforeach()

file(SHA256 "${SOURCE}/package-lock.json" wanted)
set(stamp "${TARGET}/node_modules/.installed-lock-file")
if(EXISTS "${stamp}")
  file(READ "${stamp}" installed)
  if(installed STREQUAL wanted)
    message(STATUS "the Node packages are installed")
    return()
  endif()
endif()

file(COPY "${SOURCE}/package.json" "${SOURCE}/package-lock.json" DESTINATION "${TARGET}")
execute_process(
  COMMAND /usr/bin/npm ci --ignore-scripts --prefer-offline --no-audit --no-fund
  WORKING_DIRECTORY "${TARGET}"
  RESULT_VARIABLE status)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "npm ci failed (${status}); the Debian packages nodejs and npm are needed")
endif()
file(WRITE "${stamp}" "${wanted}")
