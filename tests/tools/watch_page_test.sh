#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Opens a page of `mrn watch --report` in a browser without a window: has its script run, does it count what
# was recorded, and do hovering, zooming and hiding work? Without a browser: has it all colours? Speaks TAP.
#
#	watch_page_test.sh TOOL WATCHED

tool=$1 watched=$2
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)

echo 1..5
number=0
# check NAME FILE PATTERN
check() {
	number=$((number + 1))
	if grep -q -- "$3" "$2"; then
		echo "ok $number - $1"
	else
		echo "not ok $number - $1"
		echo "# no $3 in:"
		head -c 3000 "$2" | sed 's/^/# /'
	fi
}

"$tool" watch --report "$tmp/page.html" -- "$watched" count 300 70 2>"$tmp/tables" || exit 1
sed -n 's/.*"groups":\[\([^]]*\)\].*/\1/p' "$tmp/page.html" | tr -d '"' | tr , '\n' >"$tmp/groups"
while read -r group; do
	grep -q "\b$group: \"#" "$tmp/page.html" || echo "$group has no colour"
done <"$tmp/groups" >"$tmp/lacking"
[ -s "$tmp/lacking" ] || wc -l <"$tmp/groups" >"$tmp/lacking"
check 'each group of causes has a colour' "$tmp/lacking" '^[1-9][0-9]*$'

if [ -z "$browser" ]; then
	for i in 2 3 4 5; do
		echo "ok $i - page # SKIP there is no chromium"
	done
	exit 0
fi

# The page as it is after its script, and $2 behind it, have run.
open_page() {
	sed 's|</body>||; s|</html>||' "$1" >"$tmp/opened.html"
	printf '<script>%s</script></body></html>\n' "$2" >>"$tmp/opened.html"
	HOME=$tmp timeout -s KILL 100 "$browser" --headless --no-sandbox --disable-gpu \
		--user-data-dir="$tmp/browser" --window-size=1200,900 --dump-dom \
		"file://$tmp/opened.html" 2>/dev/null
}

open_page "$tmp/page.html" '' | grep '<body' >"$tmp/body"
check 'the script counts what was recorded' "$tmp/body" 'data-counted="370" data-total="370"'

# One that has lost a rectangle counts less.
sed 's/"rects":\[[0-9]*,[0-9]*,[0-9]*,[0-9]*,[0-9]*,[0-9]*,[0-9]*,[0-9]*,[0-9]*,/"rects":[/' \
	"$tmp/page.html" >"$tmp/less.html"
open_page "$tmp/less.html" '' | grep '<body' >"$tmp/body"
check 'a page that lacks one says so' "$tmp/body" 'data-counted="369" data-total="370"'

# In the middle of the first rectangle that is drawn.
open_page "$tmp/page.html" '
	const [x, y, w, h] = rect(order[0]), r = canvas.getBoundingClientRect();
	const mouse = (type, more) => canvas.dispatchEvent(new MouseEvent(type,
		{clientX: r.left + x + w / 2, clientY: r.top + y + h / 2, ...more}));
	mouse("pointermove");
	document.body.dataset.tip = tip.textContent.split("\n").join(" ");
	const span = view.t1;
	canvas.dispatchEvent(new WheelEvent("wheel", {deltaY: -1, clientX: r.left + x, clientY: r.top + y}));
	document.body.dataset.zoomed = view.t1 - view.t0 < span;
	document.querySelector("#legend button").click();
	document.body.dataset.hidden = find(...[0, 1].map(i => rect(order[0])[i])) !== order[0];
' | grep '<body' >"$tmp/body"
check 'hovering says what is there' "$tmp/body" 'data-tip="munmap.*12.0 KiB'
check 'zooming and hiding' "$tmp/body" 'data-zoomed="true" data-hidden="true"'
