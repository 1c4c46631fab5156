#!/usr/bin/env bash
# Installs Debian packages for the tests and leaves no server of theirs running, nor one that starts with the machine: the tests start their own.
# What was installed before stays as it is.
set -euo pipefail

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
export DEBIAN_FRONTEND=noninteractive

# invoke-rc.d and systemd's helper both ask this file before they start anything. Ours stands there only while apt works.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
ours="# from tests/install.sh"
put_back() {
    if [ -e "$policy.before-tests" ]; then
        "${as_root[@]}" mv -f "$policy.before-tests" "$policy"
    elif grep -qsF "$ours" "$policy"; then
        "${as_root[@]}" rm -f "$policy"
    fi
}
put_back # what a run left that was killed
trap put_back EXIT
trap 'exit 1' HUP INT TERM
[ ! -e "$policy" ] || "${as_root[@]}" mv "$policy" "$policy.before-tests"
printf '#!/bin/sh\n%s\nexit 101\n' "$ours" | "${as_root[@]}" tee "$policy" >/dev/null
"${as_root[@]}" chmod 755 "$policy"

new=()
for package in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || new+=("$package")
done
"${as_root[@]}" apt-get update -q
failed=0
"${as_root[@]}" apt-get install -y -q --no-install-recommends "$@" || failed=$?

# Debian enables every server that it installs. The files that a package brings name its units and its scripts.
for package in "${new[@]}"; do
    while read -r file; do
        case $file in
            */systemd/system/*@.*) ;;
            */systemd/system/*.service | */systemd/system/*.socket | */systemd/system/*.target | */systemd/system/*.timer)
                if command -v systemctl >/dev/null; then
                    "${as_root[@]}" systemctl disable --quiet "${file##*/}"
                else
                    "${as_root[@]}" find /etc/systemd/system -path "*.wants/${file##*/}" -delete
                fi
                ;;
            /etc/init.d/*) ! command -v update-rc.d >/dev/null || "${as_root[@]}" update-rc.d "${file##*/}" disable >/dev/null ;;
        esac
    done < <(dpkg -L "$package" 2>/dev/null)
done
exit "$failed"
