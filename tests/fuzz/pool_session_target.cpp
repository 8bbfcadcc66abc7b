// Whole sessions: clients and servers that do and say whatever the input has them do, and the pooler between them. What
// must hold whatever happens, the simulation's invariants check after every step.

#include "tests/fuzz/session_script.h"
#include "tests/fuzz/target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  bezel::fuzz::Input input(data, size);
  bezel::fuzz::SessionScript script(input.line(), 1);
  for (int lines = 0; !input.at_end() && lines < bezel::fuzz::SessionScript::kLinesMax; lines++) {
    script.run(input.line());
  }
  script.end();
  return 0;
}
