# shellcheck shell=bash
# shellcheck disable=SC2034  # the scripts use the variables
# Sourced by the scripts: makes sure that what they need is installed.
#
#   accrue_setup GROUP…    installs the packages of these groups of scripts/packages.txt that are missing (Debian, Ubuntu),
#                          then checks the versions of the compiler and of CMake
#   accrue_configure PRESET [CMAKE_OPTION…]
#   accrue_launchers             CMake's options for ccache, one a line
#   accrue_has_nvcc              whether CUDA code can be compiled for GPUs here
#   accrue_emulator_options      CMake's options for the emulated device, one a line; fetches the CUDA toolkit's headers
#                                into build/cuda-headers where there is no toolkit
#
# Environment: ACCRUE_SKIP_SETUP=1 installs nothing. JOBS: how many jobs run side by side (default: all cores).

accrue_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
accrue_packages="$accrue_root/scripts/packages.txt"
accrue_jobs=${JOBS:-$(nproc 2>/dev/null || echo 2)}

accrue_say() { printf '%s\n' "$@"; }  # a line for each argument
accrue_die() {
  { printf 'error: ' && accrue_say "$@"; } >&2
  exit 1
}
# For wrong options: the exit code that the programs have for them, too (docs/exit-codes.md).
accrue_misuse() {
  printf 'error: %s; --help lists the options\n' "$*" >&2
  exit 2
}

# Names of the packages in the given groups.
accrue_packages_of() {
  local group
  for group in "$@"; do
    sed -nE "s/^([a-z0-9][a-z0-9.+-]*)[[:space:]]+# $group:.*/\1/p" "$accrue_packages"
  done
}

accrue_missing_of() {
  local package
  for package in $(accrue_packages_of "$@"); do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || printf '%s\n' "$package"
  done
}

# Runs apt-get as root without ever asking a question.
accrue_apt() {
  local command=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=2 "$@")
  if [[ $(id -u) != 0 ]]; then command=(sudo "${command[@]}"); fi
  "${command[@]}" </dev/null
}

accrue_may_install() {
  [[ $(id -u) == 0 ]] && return 0
  command -v sudo >/dev/null || return 1
  sudo -n true 2>/dev/null || { [[ -t 2 && -z ${CI:-} && -r /dev/tty ]]; }  # a person can type the password
}

accrue_has_candidates() {
  local package
  for package in "$@"; do
    apt-cache policy "$package" 2>/dev/null | grep -qE 'Candidate: [^(]' || return 1
  done
}

accrue_install() {
  local by_hand="apt-get install -y --no-install-recommends $*"
  accrue_say "Installing what scripts/packages.txt lists and this machine lacks: $*"
  accrue_may_install || accrue_die "installing needs root, and sudo is not there or would ask for a password. As root, run:" \
    "  $by_hand" "and start this again (ACCRUE_SKIP_SETUP=1 goes on without)."
  if ! accrue_has_candidates "$@"; then
    accrue_say "The package lists do not have all of them: apt-get update"
    accrue_apt update -q || true  # one broken source must not stop the others; the install below decides
  fi
  accrue_apt install -q -y --no-install-recommends "$@" && return 0
  accrue_say "That failed; once more with fresh package lists."
  accrue_apt update -q && accrue_apt install -q -y --no-install-recommends "$@" && return 0
  accrue_die "apt-get could not install: $*" "If this machine has no network, install them another way (as root: $by_hand)" \
    "and start this again; apt-get's own messages are above."
}

accrue_version_at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

accrue_check_versions() {
  local cmake_version compiler=${CXX:-g++} compiler_version
  command -v cmake >/dev/null || accrue_die "cmake is not there; install cmake 3.25 or newer."
  cmake_version=$(cmake --version | sed -nE '1s/.*version ([0-9.]+).*/\1/p')
  accrue_version_at_least "$cmake_version" 3.25 ||
    accrue_die "cmake 3.25 or newer is needed, but $(command -v cmake) is $cmake_version." \
      "https://cmake.org/download has binaries; \`pip install cmake\` works too."
  command -v ninja >/dev/null || accrue_die "ninja is not there; install ninja-build."
  command -v "$compiler" >/dev/null || accrue_die "the compiler $compiler is not there; install g++ 12 or newer, or set CXX."
  if [[ $("$compiler" --version) != *clang* ]]; then
    compiler_version=$("$compiler" -dumpfullversion -dumpversion)
    accrue_version_at_least "$compiler_version" 12 ||
      accrue_die "g++ 12 or newer is needed (C++20), but $compiler is $compiler_version." \
        "Where a newer one is installed under another name, say so: CXX=g++-12 $0"
  fi
}

accrue_setup() {
  local missing=()
  if [[ ${ACCRUE_SKIP_SETUP:-} == 1 ]]; then
    accrue_say "ACCRUE_SKIP_SETUP=1: nothing is installed."
  elif command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; then
    mapfile -t missing < <(accrue_missing_of "$@")
    if ((${#missing[@]} > 0)); then accrue_install "${missing[@]}"; fi
  else
    accrue_say "No apt here, so nothing is installed. These Debian packages (or what your system calls them) are needed:"
    accrue_packages_of "$@" | sed 's/^/  /'
    accrue_say "Going on; CMake will name what it does not find."
  fi
  accrue_check_versions
}

accrue_has_nvcc() {
  [[ -n ${CUDACXX:-} ]] || command -v nvcc >/dev/null || [[ -x /usr/local/cuda/bin/nvcc ]] || return 1
}
# CMake looks for nvcc on the path alone.
if [[ -z ${CUDACXX:-} && -x /usr/local/cuda/bin/nvcc ]] && ! command -v nvcc >/dev/null; then
  export CUDACXX=/usr/local/cuda/bin/nvcc
fi

accrue_emulator_options() {
  local headers="$accrue_root/build/cuda-headers" toolkit
  for toolkit in "${CUDA_PATH:-}" /usr/local/cuda "$(dirname "$(dirname "$(command -v nvcc || echo /none/bin/nvcc)")")"; do
    if [[ -f $toolkit/include/cublasLt.h && -f $toolkit/include/cuda_runtime.h ]]; then
      printf '%s\n' "-DACCRUE_CUDA_INCLUDE=$toolkit/include"
      return
    fi
  done
  accrue_say "No CUDA toolkit here: its headers come from PyPI into build/cuda-headers." >&2
  python3 "$accrue_root/scripts/lib/cuda_headers.py" "$headers" || return 1
  printf '%s\n' "-DACCRUE_CUDA_INCLUDE=$headers"
}

# cuDNN's attention is compiled where cuDNN is installed and the headers of its frontend can be had.
accrue_cudnn_frontend() {
  [[ -f /usr/local/cuda/include/cudnn.h || -f /usr/include/cudnn.h ]] || return 0
  python3 "$accrue_root/scripts/lib/cuda_headers.py" --cudnn-frontend "$accrue_root/build/cudnn-frontend/include" ||
    accrue_say "So cuDNN's attention is left out of this build." >&2
}

# Where ccache is installed. Precompiled headers are kept, too, once it is told that their macros and dates are no matter.
accrue_launchers() {
  command -v ccache >/dev/null || return 0
  printf '%s\n' "-DCMAKE_CXX_COMPILER_LAUNCHER=env;CCACHE_SLOPPINESS=pch_defines,time_macros;ccache" \
    -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache -DCMAKE_DISABLE_PRECOMPILE_HEADERS=OFF
}

# Configures a preset unless its build folder is configured already: ninja re-runs CMake itself when that is needed.
accrue_configure() {
  local preset=$1 build="$accrue_root/build/$1"
  shift
  # With options again and again: what this machine has may have changed since.
  [[ -f $build/build.ninja && $# == 0 ]] && return 0
  local launchers
  mapfile -t launchers < <(accrue_launchers)
  (cd "$accrue_root" && cmake --preset "$preset" "${launchers[@]}" "$@")
}
