#!/bin/bash
# CPU time for each cold name of signed zones, beside Unbound: both validate, clients set DO, every
# name is asked once. Local zones by ldns-signzone (ECDSA P-256), served by NSD.
#
#   benches/peers/dnssec.sh target/dist/ox-protect [NAMES] [ROUNDS]
#
# Needs ldnsutils, nsd, unbound and dnsperf (`make tools`), and port 53 of a loopback address. Core 0
# has the resolver, core 1 the rest.
set -euo pipefail
ox=$(realpath "$1") names=${2:-20000} rounds=${3:-3} zones=20
PATH=$PATH:/usr/sbin
folder=$(mktemp -d)
children=()
trap 'kill "${children[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
authority=127.60.0.54 port=53 resolver=5455

# Signs a zone: its name, its records, further arguments of the signer. Prints its DS record.
sign() {
    local zone=$1 records=$2 key
    shift 2
    key=$(ldns-keygen -a ECDSAP256SHA256 -k "$zone")
    printf '%s 3600 IN SOA ns.example. h.example. 1 3600 600 86400 60\n%s 3600 IN NS ns.example.\n' \
        "$zone" "$zone" >"${zone}zone"
    cat "$records" >>"${zone}zone"
    ldns-signzone "$@" -f "${zone}signed" "${zone}zone" "$key"
    cat "$key.ds"
    printf 'zone:\n name: "%s"\n zonefile: "%ssigned"\n' "$zone" "$zone" >>nsd.conf
}

cat >nsd.conf <<END
server:
 ip-address: $authority@$port
 username: ""
 chroot: ""
 zonesdir: "$folder"
 pidfile: ""
 database: ""
 zonelistfile: "$folder/zone.list"
 xfrdfile: "$folder/xfrd"
 xfrdir: "$folder"
 server-count: 1
 rrl-ratelimit: 0
remote-control:
 control-enable: no
END
printf 'ns.example. 3600 IN A %s\n' $authority >example.records
for zone in $(seq $zones); do
    seq $((names / zones)) | sed "s/.*/n&.z$zone.example. 3600 IN A 192.0.2.1/" >records
    { printf 'z%s.example. 3600 IN NS ns.example.\n' "$zone"; sign "z$zone.example." records; } \
        >>example.records
done
{ printf 'example. 3600 IN NS ns.example.\nns.example. 3600 IN A %s\n' $authority
  sign example. example.records -n -p; } >root.records
sign . root.records >anchor
printf '. 3600000 NS ns.example.\nns.example. 3600000 A %s\n' $authority >hints
for zone in $(seq $zones); do seq $((names / zones)) | sed "s/.*/n&.z$zone.example A/"; done |
    shuf --random-source=<(yes) >questions
cat >ox.toml <<END
[dns]
listen = ["127.0.0.1:$resolver"]
[api]
listen = "127.0.0.1:0"
[store]
url = "sqlite:ox.db"
[recursion]
root_hints = "hints"
authority_port = $port
ipv6 = false
do_not_query = []
trust_anchors = ["$(tr '\t' ' ' <anchor)"]
END
cat >unbound.conf <<END
server:
 interface: 127.0.0.1@$resolver
 do-daemonize: no
 use-syslog: no
 username: ""
 chroot: ""
 directory: "$folder"
 pidfile: ""
 root-hints: "hints"
 trust-anchor-file: "anchor"
 do-not-query-localhost: no
 do-ip6: no
 num-threads: 1
 msg-cache-size: 256m
 rrset-cache-size: 512m
 harden-referral-path: no
 local-zone: "example." nodefault
 prefetch: no
remote-control:
 control-enable: no
END

taskset -c 1 nsd -d -c nsd.conf 2>nsd.log &
children+=($!)
sleep 2
ticks=$(getconf CLK_TCK)
# The processor time of a process and its children, in ticks.
spent() { cut -d' ' -f14,15 "/proc/$1/stat" | tr ' ' + | bc; }

# Runs one contestant: its name, and its command. Prints microseconds for each name.
run() {
    local name=$1 before after answered
    shift
    taskset -c 0 "$@" >"$name.log" 2>&1 &
    local pid=$!
    children+=($pid)
    for _ in $(seq 100); do
        dig +time=1 +tries=1 +dnssec @127.0.0.1 -p $resolver n1.z1.example A 2>/dev/null |
            grep -q 'flags:.* ad' && break
        sleep 0.1
    done
    before=$(spent $pid)
    taskset -c 1 dnsperf -s 127.0.0.1 -p $resolver -d questions -D -n 1 -c 4 -q 40 -t 10 >perf.log
    after=$(spent $pid)
    answered=$(grep -o 'NOERROR [0-9]*' perf.log | cut -d' ' -f2)
    echo "$name $(((after - before) * 1000000 / ticks / names)) us/query," \
        "${answered:-0} of $names answered NOERROR"
    kill $pid
    wait $pid 2>/dev/null || true
}

for _ in $(seq "$rounds"); do
    rm -rf ox.db* ox-history.db* data
    run ox-protect "$ox" serve --config ox.toml
    run unbound unbound -d -c unbound.conf
done | tee results
for name in ox-protect unbound; do
    echo "$name median $(grep "^$name " results | cut -d' ' -f2 | sort -n | sed -n "$(((rounds + 1) / 2))p") us/query"
done
