#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
#
# The completion names every command that has a page, and every option that --usage has. Speaks TAP.
#
#	completion_test.sh SOURCE-ROOT MRN

src=$1 mrn=$2
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
number=0
# shellcheck source=/dev/null
. "$src/tools/mrn/completion.bash"

# complete_words WORD...: what the completion offers for the last word, a line each, goes to the file "got".
complete_words()
{
	COMP_WORDS=(mrn "$@")
	COMP_CWORD=$#
	_mrn "$mrn" "${!#}" "${COMP_WORDS[COMP_CWORD - 1]}"
	printf '%s\n' "${COMPREPLY[@]}" | sort >"$tmp/got"
}

# same NAME: the files "got" and "wanted" are.
same()
{
	number=$((number + 1))
	if diff "$tmp/wanted" "$tmp/got" >"$tmp/diff"; then
		echo "ok $number - $1"
	else
		echo "not ok $number - $1"
		sed 's/^/# /' "$tmp/diff"
	fi
}

# Written by another part of argp than --help: usage_options COMMAND...
usage_options()
{
	"$mrn" "$@" --usage | grep -oE '\[--[a-z-]+=?' | tr -d '[' | sort
}

options()
{
	usage_options "$@" >"$tmp/wanted"
	[ -s "$tmp/wanted" ] || echo "nothing of $*" >"$tmp/wanted"
	complete_words "$@" --
	same "options of $*"
}

echo "TAP version 13"
(cd "$src/man" && printf '%s\n' mrn-*.1 | sed 's/^mrn-//;s/\.1$//' | sort) >"$tmp/wanted"
cp "$tmp/wanted" "$tmp/commands"
complete_words ''
sed -i /^-/d "$tmp/got"
same commands

while read -r command; do
	[ "$command" = bench ] || options "$command"
done <"$tmp/commands"
complete_words bench ''
cp "$tmp/got" "$tmp/suites"
sed -n 's/^\.SS //p' "$src/man/mrn-bench.1" | sort -u >"$tmp/wanted"
same suites
while read -r suite; do
	options bench "$suite"
done <"$tmp/suites"

"$mrn" lab --list-steps | sed 's/ .*//' | sort -u >"$tmp/wanted"
complete_words lab --driver =
same 'values after ='
printf '%s\n' kvm >"$tmp/wanted"
complete_words lab --driver = kv
same 'a value that is begun'
echo >"$tmp/wanted"
complete_words watch ls --j
same 'options of a watched program are its own'
printf '%s\n' --json >"$tmp/wanted"
complete_words watch --output = file --j
same 'the value of an option is no program'

# A tool of which --help leaves an option out.
real=$mrn mrn=$tmp/mrn
printf '#!/bin/sh\n"%s" "$@" | case $* in *--help) grep -v -e --threads ;; *) cat ;; esac\n' "$real" >"$mrn"
chmod +x "$mrn"
number=$((number + 1))
if (options lab) | grep -q '^not ok'; then
	echo "ok $number - an option that is left out is noticed"
else
	echo "not ok $number - an option that is left out is noticed"
fi
echo "1..$number"
