#!/usr/bin/env bash
# Installs the Debian 12 packages that Pagoda is built from; only what is missing.
#
#   deploy/install_packages.sh               what the build needs
#   deploy/install_packages.sh --with-tests  also what tests/run.sh needs
#   deploy/install_packages.sh --print       prints the names, installs nothing
#
# Uses sudo when not root. Exits 1 and names the packages when it can do neither.
set -euo pipefail

build_packages=(
  ca-certificates git g++ cmake ninja-build ccache pkg-config
  protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libgrpc++-dev libabsl-dev
  librocksdb-dev libgloo-dev libspdlog-dev catch2 libcli11-dev libtomlplusplus-dev
  libdnnl-dev
  zlib1g-dev libzstd-dev libxxhash-dev
)
test_packages=(python3 clang-format iproute2 procps)

packages=("${build_packages[@]}")
case "${1:-}" in
  "") ;;
  --with-tests) packages+=("${test_packages[@]}") ;;
  --print) printf '%s\n' "${build_packages[@]}" "${test_packages[@]}"; exit 0 ;;
  *) sed -n '2,9p' "$0" | cut -c3-; exit 2 ;;
esac

if ! command -v dpkg-query > /dev/null; then
  echo "install_packages: no dpkg here; these are the Debian 12 names of what Pagoda needs:" >&2
  printf '  %s\n' "${packages[@]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  state="$(dpkg-query -W -f='${Status}' "$package" 2> /dev/null || true)"
  [ "$state" = "install ok installed" ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "install_packages: nothing missing"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo > /dev/null; then
    echo "install_packages: not root and no sudo; ask an administrator to install:" >&2
    echo "  apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "install_packages: installing ${missing[*]}"
install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends "${missing[@]}"
}
# The package lists of a bare machine may be absent or old.
"${as_root[@]}" apt-get update -qq || echo "install_packages: apt-get update failed; going on" >&2
install
