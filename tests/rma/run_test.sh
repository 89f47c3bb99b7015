#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# examples/rma/run with a server that has ended, and whose number is another process's by the time that the client fails:
# that process lives on. run_test.sh RUN. In a namespace of process numbers, where the next number can be chosen.
set -u

run=$1
if [ "${2-}" != inside ]; then
	echo "TAP version 13"
	echo "1..1"
	[ "$(id -u)" = 0 ] && command -v ip >/dev/null && unshare --pid --fork --mount-proc \
		sh -c 'echo 100 >/proc/sys/kernel/ns_last_pid' 2>/dev/null || {
		echo "ok 1 - another_process_lives # SKIP this takes root, ip(8), and a kernel that lets process numbers be chosen"
		exit 0
	}
	exec unshare --pid --fork --mount-proc sh "$0" "$run" inside
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat >"$dir/rma" <<'END'
#!/bin/sh
dir=$(dirname "$0")
if [ "$1" = server ]; then
	echo $$ >"$dir/number"
	exit 1
fi
until [ -s "$dir/number" ]; do
	sleep 0.01
done
number=$(cat "$dir/number")
# Until the shell that runs this has waited for it.
while [ -e "/proc/$number" ]; do
	sleep 0.01
done
echo $((number - 1)) >/proc/sys/kernel/ns_last_pid
# Where the test itself runs: it is no part of what the run has begun.
nsenter --target 1 --net sleep 1000 &
echo $! >"$dir/other"
until [ "$(readlink /proc/$!/ns/net)" = "$(readlink /proc/1/ns/net)" ]; do
	sleep 0.01
done
exit 1
END
chmod +x "$dir/rma"
sh "$run" "$dir/rma" -n 1 >"$dir/says" 2>&1
status=$?
if [ $status = 77 ]; then
	echo "ok 1 - another_process_lives # SKIP $(cat "$dir/says")"
	exit 0
fi
number=$(cat "$dir/number")
[ $status = 1 ] && [ "$(cat "$dir/other")" = "$number" ] && [ -e "/proc/$number" ] || {
	printf 'not '
}
echo "ok 1 - another_process_lives"
sed 's/^/# /' "$dir/says"
[ ! -e "/proc/$number" ] || kill "$number"
