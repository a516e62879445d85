#!/usr/bin/env bash
# A worker's peer, a server, or a whole network namespace cut off during a step: every
# process ends with a named cause within its deadline.
. "$(dirname "$0")/lib.sh"
build
bash tests/integration/network_namespaces.sh --cut-off
