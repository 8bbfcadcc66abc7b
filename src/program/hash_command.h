#pragma once

namespace bezel::program {

/// `bezel hash`: reads a password and prints the SCRAM-SHA-256 verifier of it, as it stands in `auth_file`, with a
/// random salt. From a terminal the password is asked for twice, without echo; from anything else one line is read.
/// It is never an argument, which other users of the machine could see. Returns the exit code; errors go to the
/// standard error.
int print_verifier(int iterations);

}  // namespace bezel::program
