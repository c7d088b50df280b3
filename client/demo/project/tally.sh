#!/bin/sh
# tally.sh FILE: adds up the numbers in FILE, one a line.
total=0
while read -r number; do
    total=$((total + number))
done < "$1"
echo "$total"
