#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
#	examples_test.sh MRN VERDICT PROGRAM [VERDICT PROGRAM]...
#
# Runs each program under mrn check, which has to find what the program does wrong, and nothing in the others. VERDICT: stale
# (it uses what is stale), uses (it uses registrations, all of them good), none (it has none that are seen). Speaks TAP.

mrn=${1:?usage: examples_test.sh MRN VERDICT PROGRAM [VERDICT PROGRAM]...}
shift
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
number=0

# Without the uses a program without findings would say nothing.
is_as_expected() {
	case $1:$2 in
	stale:66) grep -q ' [1-9][0-9]* uses, .* 1 different finding$' "$log" ;;
	uses:0) grep -q ' [1-9][0-9]* uses, .* 0 different findings$' "$log" ;;
	none:0) grep -q ' 0 uses, .* 0 different findings$' "$log" ;;
	*) false ;;
	esac
}

echo "TAP version 13"
while [ $# -ge 2 ]; do
	number=$((number + 1))
	name=${2##*/}
	timeout 120 "$mrn" check --fail-on use,flight,change -- "$2" >"$log" 2>&1
	status=$?
	if [ $status = 77 ]; then
		echo "ok $number - $name # SKIP $(grep -v '^mrn check: ' "$log" | tail -n 1)"
	elif is_as_expected "$1" $status; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name # exit status $status, expected: $1"
	fi
	sed 's/^/#   /' "$log"
	shift 2
done
echo "1..$number"
