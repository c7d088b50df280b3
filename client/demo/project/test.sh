#!/bin/sh
# The last line of a file need not end with a newline.
file=${TMPDIR:-/tmp}/tally-test.$$
printf '1\n2\n3\n4\n5' > "$file"
got=$(sh ./tally.sh "$file")
rm -f "$file"
if [ "$got" = 15 ]; then
    echo "ok: 1 test passed"
else
    echo "FAILED: expected 15, got $got"
    exit 1
fi
