#!/usr/bin/env bash
# Programs from npm for the tests, in a folder of their own: npm.sh NAME PACKAGE@VERSION... makes
# target/NAME/node_modules.
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1
shift
home=target/$name
ready=$home/ready-$(printf '%s\n' "$@" | sha256sum | cut -c1-16)
[ ! -e "$ready" ] || exit 0

command -v npm >/dev/null || tests/install.sh nodejs npm
rm -rf "$home"
mkdir -p "$home"
npm install --prefix "$home" --no-audit --no-fund --no-save --loglevel error "$@"
touch "$ready"
