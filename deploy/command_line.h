// From the words of the command line to a command: the one door to CLI11.
#pragma once

namespace pagoda {

// Parses, runs the command, prints its error ("pagoda: error: ..." on stderr), and
// returns the process's exit code: commands.h says which.
int RunCommandLine(int argc, char** argv);

}  // namespace pagoda
