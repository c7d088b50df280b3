#!/bin/sh
# Asks for what the reports need and keeps it in report.conf.
printf 'Who is the report for? '
read -r name
printf 'Write report.conf for %s (yes/no)? ' "$name"
read -r answer
if [ "$answer" != yes ]; then
    echo "nothing written"
    exit 1
fi
echo "name=$name" > report.conf
echo "report.conf written"
