#!/bin/sh
# Installs what the interop tests need: node_modules and a Python environment beside this file. Does nothing when
# both are already what package-lock.json and requirements.txt ask for.
set -eu
cd "$(dirname "$0")"

if ! cmp -s package-lock.json node_modules/.installed; then
    npm ci --no-audit --no-fund --silent
    cp package-lock.json node_modules/.installed
fi

if ! cmp -s requirements.txt .venv/.installed; then
    python3 -m venv .venv
    .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
    cp requirements.txt .venv/.installed
fi
