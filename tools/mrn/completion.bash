# SPDX-License-Identifier: BSD-3-Clause
#
# Completes the words of mrn in bash, as the command's own --help has them.

# _mrn_words FIRST COMMAND...: the first words of the list that follows the line FIRST in the command's help.
_mrn_words()
{
	local first=$1
	shift
	"$@" --help 2>/dev/null | sed -n "/^$first\$/,/^\$/s/^  \\([a-z_]*\\) .*/\\1/p"
}

# The long options in the command's help, each with = if it takes a value.
_mrn_options()
{
	"$@" --help 2>/dev/null | sed -nE 's/^(      |  -., )(--[a-z-]+=?).*/\2/p'
}

_mrn_value()
{
	case $2 in
	"lab --driver") "$1" lab --list-steps | sed 's/ .*//' | uniq ;;
	"lab --break") "$1" lab --list-steps | awk '{print $2}' | sort -u ;;
	"coverage --source") echo all auto dispatch interpose uffd ;;
	"check --source") echo auto dispatch interpose ;;
	"check --fail-on") echo use change flight ;;
	"run --source" | "watch --source") echo auto dispatch interpose uffd ;;
	"run --for") echo auto libfabric ucx ;;
	esac
}

_mrn()
{
	local mrn=$1 command=${COMP_WORDS[1]} at=$COMP_CWORD word=${COMP_WORDS[COMP_CWORD]} words='' i

	COMPREPLY=()
	[ "$word" != = ] || { word='' && at=$((at + 1)); }
	if [ "$COMP_CWORD" = 1 ]; then
		words="$(_mrn_words Commands: "$mrn") $(_mrn_options "$mrn")"
	elif [ "${COMP_WORDS[at - 1]}" = = ]; then
		words=$(_mrn_value "$mrn" "$command ${COMP_WORDS[at - 2]}")
	elif [ "$command" = bench ] && [ "$COMP_CWORD" = 2 ]; then
		words=$(_mrn_words Suites: "$mrn" bench)
	elif [ "$command" = bench ]; then
		words=$(_mrn_options "$mrn" bench "${COMP_WORDS[2]}")
	else
		case $command in
		check | run | watch)
			# What follows the program is the program's.
			for ((i = 2; i < COMP_CWORD; i++)); do
				case ${COMP_WORDS[i]} in
				-*) ;;
				=) i=$((i + 1)) ;;
				*) return ;;
				esac
			done
			case $word in
			-*) ;;
			*)
				mapfile -t COMPREPLY < <(compgen -c -- "$word")
				return
				;;
			esac
			;;
		esac
		words=$(_mrn_options "$mrn" "$command")
	fi
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
	case ${COMPREPLY[0]} in
	*=) [ ${#COMPREPLY[@]} != 1 ] || compopt -o nospace 2>/dev/null ;;
	esac
}

complete -o default -F _mrn mrn
