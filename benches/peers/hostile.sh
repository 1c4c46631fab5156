#!/bin/bash
# What hostile zones cost a validator, beside Unbound: CPU time for each hostile query, and the
# latency of other clients' names meanwhile. hostile.py is the malicious authority: KeyTrap with 80
# keys of one tag and 80 signatures, and NSEC3 with 2,500 iterations, and with the 50 that both still
# compute, for names of 110 labels.
#
#   benches/peers/hostile.sh target/dist/ox-protect [QUERIES] [ROUNDS]
#
# Needs ldnsutils, nsd, unbound, dnsperf, dnsutils and Debian's python3-dnspython and
# python3-cryptography (`make tools`), and port 53 of two loopback addresses. Core 0 has the
# resolver, core 1 the rest.
set -euo pipefail
ox=$(realpath "$1") queries=${2:-300} rounds=${3:-3}
here=$(dirname "$(realpath "$0")")
PATH=$PATH:/usr/sbin
folder=$(mktemp -d)
children=()
trap 'kill "${children[@]}" 2>/dev/null || true; wait; rm -rf "$folder"' EXIT
cd "$folder"
authority=127.60.0.54 attacker=127.60.0.55 port=53 resolver=5456
# Hostile queries a second while other clients' names are timed, and names of others a second.
rate=50 others=200 seconds=10

taskset -c 1 /usr/bin/python3 "$here/hostile.py" $attacker $port >hostile.zones 2>hostile.log &
children+=($!)
until grep -q ready hostile.zones; do sleep 0.2; done

# Signs a zone: its name, its records. Prints its DS record.
sign() {
    local zone=$1 key
    key=$(ldns-keygen -a ECDSAP256SHA256 -k "$zone")
    printf '%s 3600 IN SOA ns.good. h.good. 1 3600 600 86400 60\n%s 3600 IN NS ns.good.\n' \
        "$zone" "$zone" | cat - "$2" >"${zone}zone"
    ldns-signzone -f "${zone}signed" "${zone}zone" "$key"
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
# Enough names that each is asked once.
names=$((others * seconds * 4))
{ printf 'ns.good. 3600 IN A %s\n' $authority
  seq $names | sed 's/.*/n&.good. 3600 IN A 192.0.2.1/'; } >good.records
{ printf 'good. 3600 IN NS ns.good.\nns.good. 3600 IN A %s\n' $authority
  sign good. good.records
  grep -v ready hostile.zones; } >root.records
sign . root.records >anchor
printf '. 3600000 NS ns.good.\nns.good. 3600000 A %s\n' $authority >hints
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
 msg-cache-size: 64m
 rrset-cache-size: 128m
remote-control:
 control-enable: no
END

taskset -c 1 nsd -d -c nsd.conf 2>nsd.log &
children+=($!)
sleep 2
ticks=$(getconf CLK_TCK)
# The processor time of a process and its children, in ticks.
spent() { cut -d' ' -f14,15 "/proc/$1/stat" | tr ' ' + | bc; }

# Names of a hostile zone, none twice: its name, a word that no other call has, and how many.
deep=$(printf 'a.%.0s' $(seq 108))
hostile() {
    local labels=
    case $1 in nsec3*) labels=$deep ;; esac
    seq "$3" | sed "s/.*/$2-&.$labels$1 A/"
}

# What dnsperf is told: its questions, and further arguments.
perf() {
    local questions=$1
    shift
    taskset -c 1 dnsperf -s 127.0.0.1 -p $resolver -d "$questions" -D -n 1 -c 4 -t 10 "$@"
}

# The 99th percentile of others' names while a hostile zone is asked for, in microseconds. Without
# a zone they are alone.
others_p99() {
    local zone=$1 word=$2 attack=
    if [ -n "$zone" ]; then
        hostile "$zone" "$word" $((rate * (seconds + 2))) >attack
        perf attack -Q $rate -q 200 >attack.log &
        attack=$!
        sleep 1
    fi
    seq "$next" $((next + others * seconds - 1)) | sed 's/.*/n&.good A/' >others
    next=$((next + others * seconds))
    perf others -Q $others -q 200 -v >others.log
    [ -z "$attack" ] || wait "$attack"
    grep '^> ' others.log | awk '{print $NF * 1000000}' | sort -n |
        awk '{v[NR] = $1} END {print int(v[int(NR * 0.99)])}'
}

# Runs one contestant: its name, and its command.
run() {
    local name=$1 zone count before after
    shift
    taskset -c 0 "$@" >"$name.log" 2>&1 &
    local pid=$!
    children+=($pid)
    for _ in $(seq 100); do
        dig +time=1 +tries=1 +dnssec @127.0.0.1 -p $resolver ns.good A 2>/dev/null |
            grep -q 'flags:.* ad' && break
        sleep 0.1
    done
    for zone in plain keytrap nsec3 nsec3-50; do
        hostile $zone warm 3 >questions
        perf questions -q 1 >perf.log
        # Unbound takes seconds for each of the last.
        count=$queries
        [ $zone != nsec3-50 ] || count=$((queries / 10))
        hostile $zone cpu "$count" >questions
        before=$(spent $pid)
        perf questions -q 4 >perf.log
        after=$(spent $pid)
        echo "$name cpu $zone $(((after - before) * 1000000 / ticks / count)) us/query" \
            "$(grep 'Response codes' perf.log | tr -s ' ')"
    done
    next=1
    for zone in "" keytrap nsec3; do
        echo "$name p99 ${zone:-alone} $(others_p99 "$zone" time) us"
    done
    kill $pid
    wait $pid 2>/dev/null || true
}

for _ in $(seq "$rounds"); do
    rm -rf ox.db* ox-history.db* data
    run ox-protect "$ox" serve --config ox.toml
    run unbound unbound -d -c unbound.conf
done | tee results
echo
for row in "cpu plain" "cpu keytrap" "cpu nsec3" "cpu nsec3-50" "p99 alone" "p99 keytrap" "p99 nsec3"; do
    for name in ox-protect unbound; do
        echo "$name $row median $(grep "^$name $row " results | cut -d' ' -f4 | sort -n |
            sed -n "$(((rounds + 1) / 2))p") us"
    done
done
