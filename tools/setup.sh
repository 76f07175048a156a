#!/usr/bin/env bash
# Makes .venv with the pinned packages: tools/setup.sh. Safe to repeat; a killed one goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { printf '\n%s\n' "$*" >&2; exit 1; }

python=""
for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
  if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
[ -n "$python" ] || fail "Python 3.11 or newer with venv is needed, but ${PYTHON:-python3} is \
$(${PYTHON:-python3} --version 2>&1 | head -n 1 || true): install it, or name one with make PYTHON=/path/to/python3."

free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
if [ ! -d .venv/lib ] && [ "$free" -lt 8 ]; then
  fail "The environment takes 6 GB and the disk of this folder has $free GB free: make room for 8 GB."
fi

[ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || "$python" -m venv --clear .venv
total=$(grep -c == requirements.txt)
echo "Installing at most $total packages into .venv (6 GB; one to ten minutes) ..."
mkdir -p build
log=build/install.log
if ! TMPDIR=${TMPDIR:-/tmp} .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off \
  -r requirements.txt 2>&1 | tee "$log" | awk '
    /^Collecting /   { printf "  %3d %s\n", ++n, $2; fflush() }
    /^Installing collected/ { print "  unpacking ..."; fflush() }'; then
  if grep -q 'No space left' "$log"; then
    fail "The disk is full: make room for 8 GB, then run the same command again."
  elif grep -qE 'NewConnectionError|Name or service|Temporary failure|ConnectTimeout|Could not find a version' "$log"; then
    fail "The packages cannot be fetched: is there a network? Run the same command again when there is ($log has pip's words)."
  fi
  fail "pip could not install the packages: $(grep -i '^error' "$log" | head -n 1) ($log has all of it)."
fi
touch .venv/installed
