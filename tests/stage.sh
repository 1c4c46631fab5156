#!/usr/bin/env bash
# Runs one stage of the tests and prints how long it took: stage.sh NAME COMMAND...
set -euo pipefail
name=$1
shift
begin=$SECONDS
status=0
"$@" || status=$?
echo "stage $name: $((SECONDS - begin)) s$([ $status -eq 0 ] || echo ", failed with status $status")"
exit $status
