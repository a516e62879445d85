# Writes OUTPUT, a header with the commit that SOURCE_DIR stands at, when it changed.
# Without git, or outside a repository, the commit is empty.
find_program(GIT git)
set(commit "")
if(GIT)
  execute_process(COMMAND ${GIT} -C ${SOURCE_DIR} describe --always --dirty --tags
                  OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
set(text "// The commit that was built; written by the build.\n#pragma once\n")
string(APPEND text "inline constexpr char kGitDescribe[] = \"${commit}\";\n")
set(old "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} old)
endif()
if(NOT old STREQUAL text)
  file(WRITE ${OUTPUT} "${text}")
endif()
