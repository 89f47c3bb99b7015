#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Pipelines, traps, jobs and substitutions, over data that is the same every time.
set -u -o pipefail

seq 200000 | awk '{print $1 * 7919 % 200003, $1}' >data
sort -n -S 1M --parallel=4 -T . data | md5sum
sort -R --random-source=data data | sort -k2n | md5sum
xz -T2 --block-size=100000 -k -c data | xz -d | cmp - data && echo same
tar -cf - data | gzip -n -1 | gzip -d | tar -xOf - | md5sum
perl -ne '$h{$_ % 1000} .= $_; END {print length(join "", map {$h{$_}} sort keys %h), "\n"}' data
perl -e 'my @a = map {[1 .. 100]} 1 .. 5000; undef @a; my $p = fork // die; exit 3 unless $p; waitpid $p, 0; print $? >> 8, "\n"'

trap 'echo usr1' USR1
trap 'echo end' EXIT
for i in 1 2 3; do
	kill -USR1 $$
done
(
	trap 'echo inner; exit 4' TERM
	kill -TERM $BASHPID
	echo not reached
)
echo "subshell $?"
false | true
echo "pipe $? ${PIPESTATUS[*]}"
jobs=
for i in $(seq 20); do
	(exit "$i") &
	jobs="$jobs $!"
done
for job in $jobs; do
	wait "$job"
	printf '%s ' $?
done
echo
cat <(echo one) <(echo two) | tac
(exec -a other sh -c 'echo $0')
sh -c 'kill -SEGV $$'
echo "killed $?"
coproc cat
echo through >&"${COPROC[1]}"
read -r line <&"${COPROC[0]}"
echo "$line"
exec bash -c 'echo last; exit 7'
