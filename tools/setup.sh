#!/usr/bin/env bash
# Makes .venv with the pinned packages: tools/setup.sh. Safe to repeat; a killed one goes on where it stopped.
# tools/setup.sh identity prints the folder and the Python of .venv; tools/setup.sh stale prints "stale" if it was made
# for others.
set -euo pipefail
unset CDPATH $(compgen -v PYTHON | grep -vx PYTHON)
cd "$(dirname "$0")/.."
PATH=${PATH//"$PWD/.venv/bin:"/}

fail() { printf '\n%s\n' "$*" >&2; exit 1; }

identity() {
  pwd -P
  .venv/bin/python -I -c 'import sys, sysconfig; print(sys.implementation.cache_tag, sysconfig.get_platform())' 2>&1
}

case "${1:-}" in
  identity) identity; exit ;;
  stale) [ "$(identity)" = "$(cat .venv/made-for 2>/dev/null)" ] || echo stale; exit ;;
esac

# what a Python is; with status 0 if all packages of requirements.txt have files for it (tests/test_setup.py)
describe='
import os, platform, struct, sys, sysconfig
system, machine, implementation = sys.platform, platform.machine(), platform.python_implementation()
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (ValueError, AttributeError):
    libc = "another libc than glibc"
if system == "linux":
    at_home = machine in ("x86_64", "aarch64") and libc.startswith("glibc ") and tuple(map(int, libc[6:].split(".")[:2])) >= (2, 28)
else:
    at_home = system == "darwin" and machine == "arm64" and int(platform.mac_ver()[0].split(".")[0]) >= 14
threads = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
words = [implementation, platform.python_version(), "without GIL" if threads else "", "for", platform.system(), machine]
words += [libc] if system == "linux" else [platform.mac_ver()[0]]
try:
    import ensurepip, venv
except ImportError:
    words.append("without venv")
    at_home = False
print(" ".join(filter(None, words)))
known = (3, 11) <= sys.version_info[:2] <= (3, 14) and implementation == "CPython" and struct.calcsize("P") == 8
sys.exit(not (at_home and known and not threads))'

python="" found=""
candidates=(python3 python3.14 python3.13 python3.12 python3.11)
[ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
for candidate in "${candidates[@]}"; do
  if about=$("$candidate" -I -c "$describe" 2>/dev/null); then
    python=$candidate
    break
  fi
  [ -n "$found" ] || found="$candidate is ${about:-not found}"
done
if [ -z "$python" ]; then
  fail "CPython 3.11 to 3.14 with venv is needed, on Linux (x86_64 or aarch64, glibc 2.28 or newer) or macOS 14 or newer" \
    "(Apple silicon): PyTorch has no packages for others. But $found. Install one, or name one with" \
    "make PYTHON=/path/to/python3."
fi

free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
if [ ! -d .venv/lib ] && [ "$free" -lt 8 ]; then
  fail "The environment takes 6 GB and the disk of this folder has $free GB free: make room for 8 GB."
fi

if [ "$(identity)" != "$(cat .venv/made-for 2>/dev/null)" ]; then
  "$python" -I -m venv --clear .venv
  identity >.venv/made-for
fi
echo "Installing the packages into .venv (6 GB; half a minute to ten minutes) ..."
.venv/bin/python -I tools/install.py
rm -rf .venv/cache
touch .venv/installed
