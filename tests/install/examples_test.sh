#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Runs each program that it is given: 0 is good, 77 a skip for the reason printed last. Speaks TAP.

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
number=0

echo "TAP version 13"
for program; do
	number=$((number + 1))
	name=${program##*/}
	timeout 60 "$program" >"$log" 2>&1
	status=$?
	case $status in
	0) echo "ok $number - $name" ;;
	77) echo "ok $number - $name # SKIP $(tail -n 1 "$log")" ;;
	*) echo "not ok $number - $name # exit status $status" ;;
	esac
	sed 's/^/#   /' "$log"
done
echo "1..$number"
