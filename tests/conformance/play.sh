#!/usr/bin/env bash
# Plays the scenarios against a binary of ours: play.sh FOLDER BINARY RESULTS, where FOLDER holds the scenario runner. Each suite has its own
# process, because the runner plays one scenario at a time and most of its time is waiting.
set -euo pipefail

folder=$1 binary=$2 results=$3
adapter=$(dirname "$0")/adapter
mkdir -p "$results"
# The folder is somebody else's: nothing is written there.
export PYTHONDONTWRITEBYTECODE=1
# A shell that came with faketime of its own would shift the runner's clock, too.
unset LD_PRELOAD FAKETIME

players=()
for suite in unbound deckard; do
    rm -f "$results/$suite.jsonl"
    # Our caches age by CLOCK_MONOTONIC.
    /usr/bin/python3 "$folder/rplrun.py" --adapter "$adapter" --bin "$(realpath "$binary")" --fake-monotonic \
        --out "$results/$suite.jsonl" "$folder/scenarios/$suite" >"$results/$suite.log" 2>&1 &
    players+=($!)
done
for player in "${players[@]}"; do
    wait "$player" || { tail -n 5 "$results"/*.log; exit 1; }
done
