// The `pagoda` command.

#include "base/heap.h"
#include "deploy/command_line.h"

int main(int argc, char** argv) {
  pagoda::TuneHeap();
  return pagoda::RunCommandLine(argc, argv);
}
