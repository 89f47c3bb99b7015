#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
#	rma_test.sh MRN RUN RMA
#
# Two hosts under mrn check (examples/rma/run), whose memory changes all the time: libmrn-fabric never lets one use what is
# stale. What a host shares with the other may change meanwhile, which is reported as such and does not fail. Speaks TAP.

mrn=${1:?usage: rma_test.sh MRN RUN RMA}
run=$2 rma=$3
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

cat >"$dir/checked" <<END
#!/bin/sh
exec "$mrn" check -- "$rma" "\$@"
END
chmod +x "$dir/checked"
echo "TAP version 13"
"$run" "$dir/checked" -n 2000 >"$dir/says" 2>&1
status=$?
# Without uses, a client without findings would say nothing.
if [ $status = 77 ]; then
	echo "ok 1 - rma # SKIP $(grep -v '^mrn check: ' "$dir/says" | tail -n 1)"
elif [ $status = 0 ] && grep -q ' [1-9][0-9]* uses, .* 0 different findings$' "$dir/says"; then
	echo "ok 1 - rma"
else
	echo "not ok 1 - rma # exit status $status"
fi
sed 's/^/#   /' "$dir/says"
echo "1..1"
