#!/bin/sh
# Counts seconds in a file under /tmp until it is stopped.
ticks=${TMPDIR:-/tmp}/dunlin-demo-ticks
trap 'rm -f "$ticks"; exit 0' HUP INT TERM
count=0
while :; do
    count=$((count + 1))
    echo "pid $$ tick $count" > "$ticks"
    [ "$count" = 1 ] && echo "ticker is ready"
    sleep 1
done
