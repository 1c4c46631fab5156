#!/usr/bin/env bash
# A real S3 API for the tests of sharing: moto's server from PyPI, in a Python environment of its own under target/moto. The tests start it.
set -euo pipefail
cd "$(dirname "$0")/.."

version=5.1.22
home=target/moto
[ ! -e "$home/ready-$version" ] || exit 0

# Debian's Python comes without ensurepip; python3-venv brings both.
/usr/bin/python3 -c "import ensurepip, venv" 2>/dev/null || tests/install.sh python3-venv
rm -rf "$home"
/usr/bin/python3 -m venv "$home"
"$home/bin/pip" install --quiet --disable-pip-version-check "moto[server]==$version"
touch "$home/ready-$version"
