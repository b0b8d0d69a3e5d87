#!/usr/bin/env bash
# Install the official scorer of ZeroSpeech 2021 in an environment of its own and compare with it.
# It is GPL-3 and needs libraries older than ours: it is run, never imported or copied.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON="${PYTHON:-python3}"
if [ ! -x build/oracle/bin/python ]; then
    "$PYTHON" -m venv build/oracle
    build/oracle/bin/pip install --quiet "zerospeech-benchmarks==0.9.4" "pandas==2.0.3" "numpy==1.26.4"
fi
exec .venv/bin/pytest -m oracle tests/oracle
