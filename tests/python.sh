#!/usr/bin/env bash
# A program from PyPI for the tests, in a Python environment of its own: python.sh NAME VERSION PACKAGE makes target/NAME. The tests start it.
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1 version=$2 package=$3
home=target/$name
[ ! -e "$home/ready-$version" ] || exit 0

# Debian's Python comes without ensurepip; python3-venv brings both.
/usr/bin/python3 -c "import ensurepip, venv" 2>/dev/null || tests/install.sh python3-venv
rm -rf "$home"
/usr/bin/python3 -m venv "$home"
"$home/bin/pip" install --quiet --disable-pip-version-check "$package==$version"
touch "$home/ready-$version"
