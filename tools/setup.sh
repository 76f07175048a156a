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
if [ -z "$python" ]; then
  found=$("${PYTHON:-python3}" --version 2>/dev/null || echo "not found")
  fail "Python 3.11 or newer with venv is needed, but ${PYTHON:-python3} is $found: install it, or name one with" \
    "make PYTHON=/path/to/python3."
fi

free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
if [ ! -d .venv/lib ] && [ "$free" -lt 8 ]; then
  fail "The environment takes 6 GB and the disk of this folder has $free GB free: make room for 8 GB."
fi

[ -x .venv/bin/python ] && .venv/bin/python -c '' 2>/dev/null || "$python" -m venv --clear .venv
total=$(grep -c == requirements.txt)
echo "Installing at most $total packages into .venv (6 GB; one to ten minutes) ..."
mkdir -p build
log=build/install.log
# Every file against the hashes in requirements.txt, and nothing built while installing; then the project itself, which has
# no hash, with the setuptools that was installed and without asking for anything else.
install() {
  .venv/bin/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes \
    --only-binary :all: -r requirements.txt &&
    .venv/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
}
if ! install 2>&1 | tee "$log" | awk -v terminal="$([ -t 1 ] && echo 1)" -v total="$total" '
    /^(Collecting|Processing) / {
      name = $2; sub(".*/", "", name); n++
      if (terminal) printf "\r  %3d of %d  %-60.60s", n, total, name
      else if (n % 40 == 0) printf "  %3d of %d\n", n, total
      fflush()
    }
    /^Installing collected/ { printf "%s  unpacking ...\n", terminal ? "\n" : ""; fflush() }'; then
  if grep -q 'No space left' "$log"; then
    fail "The disk is full: make room for 8 GB, then run the same command again."
  elif grep -qE 'NewConnectionError|Name or service|Temporary failure|ConnectTimeout|Could not find a version' "$log"; then
    fail "The packages cannot be fetched: is there a network? Run the same command again when there is ($log has pip's words)."
  elif grep -q 'DO NOT MATCH THE HASHES' "$log"; then
    fail "A package that came is not the one that requirements.txt names by its hash, and none was installed: look at $log."
  fi
  fail "pip could not install the packages: $(grep -i '^error' "$log" | head -n 1) ($log has all of it)."
fi
touch .venv/installed
