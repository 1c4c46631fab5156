#!/usr/bin/env bash
# Plays the scenarios against a binary of ours: play.sh FOLDER BINARY RESULTS [CASES ...], where FOLDER holds the scenario runner and CASES are
# further scenarios, files or folders. Each suite has its own process, because the runner plays one scenario at a time and most of its time is
# waiting.
set -euo pipefail

folder=$1 binary=$2 results=$3
shift 3
adapter=$(dirname "$0")/adapter
mkdir -p "$results"
# Nothing is written into the runner's folder.
export PYTHONDONTWRITEBYTECODE=1
# A shell that came with faketime of its own would shift the runner's clock, too.
unset LD_PRELOAD FAKETIME

play() {
    local suite=$1
    shift
    # Our caches age by CLOCK_MONOTONIC.
    /usr/bin/python3 "$folder/rplrun.py" --adapter "$adapter" --bin "$(realpath "$binary")" --fake-monotonic \
        --out "$results/$suite.jsonl" "$@" >"$results/$suite.log" 2>&1
}

rm -f "$results"/*.jsonl "$results"/*.log
players=()
for suite in unbound deckard; do
    play "$suite" "$folder/scenarios/$suite" &
    players+=($!)
done
if [ $# -gt 0 ]; then
    play cases "$@" &
    players+=($!)
fi
for player in "${players[@]}"; do
    wait "$player" || { tail -n 5 "$results"/*.log; exit 1; }
done
