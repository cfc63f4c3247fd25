#!/usr/bin/env bash
# Installs a build of Accrue into a temporary prefix, then builds and runs a program against that alone.
#   tests/consumer/run.sh BUILD_DIR
set -euo pipefail
[[ -f ${1:-}/CMakeCache.txt ]] || { echo "usage: $0 BUILD_DIR (a configured and built one)" >&2; exit 2; }
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=$(cd "$1" && pwd)
cached() { sed -nE "s/^$1:[A-Z]+=(.*)/\1/p" "$build/CMakeCache.txt"; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cmake --install "$build" --prefix "$scratch/first" >"$scratch/install.log" || { cat "$scratch/install.log"; exit 1; }
# A package that remembers where it was first installed, or where it was built, does not survive this.
mv "$scratch/first" "$scratch/moved"
if grep -rnF -e "$build" -e "$scratch" "$scratch/moved" --include='*.cmake'; then
  echo "the installed CMake files name folders of the build" >&2
  exit 1
fi

cmake -S "$here" -B "$scratch/build" -G Ninja -DCMAKE_PREFIX_PATH="$scratch/moved" -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_COMPILER="$(cached CMAKE_CXX_COMPILER)" -DCMAKE_CXX_COMPILER_LAUNCHER="$(cached CMAKE_CXX_COMPILER_LAUNCHER)"
cmake --build "$scratch/build"
"$scratch/build/consumer"
"$scratch/build/core_consumer"
for program in "$scratch"/moved/bin/*; do
  if [[ -x $program ]]; then "$program" --help >/dev/null; fi
done
