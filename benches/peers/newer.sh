#!/usr/bin/env bash
# Makes a newer Debian in a folder, with the rivals in it, for `PEERS_ROOT=FOLDER make bench-peers`. Run as root.
#
#     benches/peers/newer.sh FOLDER [SUITE]        # SUITE: sid (the default), forky, trixie
#
# The mirror is the one that apt uses for this machine's own Debian. Nothing of this machine is changed but FOLDER; servers are
# installed and never started. Remove it with `umount FOLDER/dev FOLDER/proc; rm -r --one-file-system FOLDER`.
#
# A mirror that is no longer brought up to date has a release file past its date, which apt refuses: with PEERS_STALE_MIRROR=1 it
# is taken all the same. Signatures are checked in either case.
set -euo pipefail

root=${1:?"usage: $0 FOLDER [SUITE]"}
suite=${2:-sid}
# lua-cqueues is what Knot Resolver watches the file of its list with.
rivals=(unbound pdns-recursor dnsdist knot-resolver6 bind9 lua-cqueues)
# What Knot Resolver is called where the new name is not known.
knot_before=knot-resolver

[ "$(id -u)" -eq 0 ] || { echo "$0: must be run as root" >&2; exit 1; }
[ ! -e "$root/etc/apt" ] || { echo "$0: $root holds a system already" >&2; exit 1; }

# Security mirrors are left out: they carry no main suite of their own. Third parties' sources carry no bookworm or the like.
code_name=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' |
    awk -v code_name="$code_name" '$2 == code_name && $3 == "main" && !found++ { print $1 }')
[ -n "$mirror" ] || { echo "$0: apt names no mirror with $code_name/main" >&2; exit 1; }

command -v debootstrap >/dev/null || "$(dirname "$0")/../../tests/install.sh" debootstrap
mkdir -p "$root"
root=$(realpath "$root")
debootstrap --variant=minbase "$suite" "$root" "$mirror"

# The same keys and proxies that this machine needs to reach its mirror, if it needs any.
cp -a /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
cp /etc/resolv.conf "$root/etc/resolv.conf"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mountpoint -q "$root/dev" || mount --bind /dev "$root/dev"

[ -z "${PEERS_STALE_MIRROR:-}" ] || echo 'Acquire::Check-Valid-Until "false";' >"$root/etc/apt/apt.conf.d/99stale"

inside=(env DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root")
"${inside[@]}" apt-get update -q
"${inside[@]}" apt-cache show knot-resolver6 >/dev/null 2>&1 || rivals=("${rivals[@]/knot-resolver6/$knot_before}")
"${inside[@]}" apt-get install -y -q --no-install-recommends "${rivals[@]}"
"${inside[@]}" apt-get clean

for program in unbound pdns_recursor dnsdist kresd named; do
    "${inside[@]}" sh -c "command -v $program" >/dev/null || { echo "$0: $suite gave no $program" >&2; exit 1; }
done
echo "now: PEERS_ROOT=$root make bench-peers"
