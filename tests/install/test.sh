#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# Installs the build to a temporary place and uses it from there, as a stranger would: through
# pkg-config, in C and in C++. Speaks TAP.
#
#	test.sh SOURCE-ROOT BUILD-ROOT PREFIX LIBDIR MESON...	(CC, CXX: compilers)

src=$1 build=$2 prefix=$3 libdir=$4
shift 4
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
root=$tmp/root$prefix
number=0

result() {
	number=$((number + 1))
	echo "$1 $number - $2"
}

# check NAME COMMAND...: what the command prints is shown when it fails.
check() {
	name=$1
	shift
	"$@" >"$tmp/log" 2>&1
	case $? in
	0) result ok "$name" ;;
	77) result ok "$name # SKIP $(tail -n 1 "$tmp/log")" ;;
	*)
		result "not ok" "$name"
		sed 's/^/# /' "$tmp/log"
		;;
	esac
}

# The installed files say where they were meant to be; here they are below $tmp.
pc() {
	PKG_CONFIG_PATH=$root/$libdir/pkgconfig pkg-config --define-variable=prefix="$root" "$@"
}

# build_c PROGRAM SOURCE PACKAGE...
build_c() {
	program=$tmp/$1 source=$2
	shift 2
	# shellcheck disable=SC2046,SC2086 # words
	${CC:-cc} -std=c11 -D_GNU_SOURCE -Wall -Werror -o "$program" "$source" \
		$(pc --cflags "$@") $(pc --libs "$@") -pthread
}

build_cxx() {
	# shellcheck disable=SC2046,SC2086 # words
	${CXX:-c++} -std=c++11 -Wall -Wextra -Werror -o "$tmp/cxx" "$src/tests/install/test.cc" \
		$(pc --cflags mrn) $(pc --libs mrn) -pthread
}

# Nothing of the tree that it was built in may be asked for.
run() {
	(cd "$tmp" && LD_LIBRARY_PATH=$root/$libdir "./$1")
}

is_installed() {
	preloads=$(pc --variable=preloads mrn)
	preloads=${preloads#"$root/"}
	for f in include/mrn/mrn.h include/mrn/mmu_notifier.h include/mrn/source.h \
		include/mrn/regcache.h include/mrn/linux/mmu_notifier.h \
		include/mrn/linux/hmm.h "$libdir/libmrn.so" "$libdir/libmrn.a" \
		"$libdir/libmrn-interpose.so" "$preloads/libmrn-watch.so"; do
		[ -e "$root/$f" ] || {
			echo "$f is not installed"
			return 1
		}
	done
}

# Every function that a program may call has a page.
pages() {
	man=$root/share/man/man3
	[ -d "$man" ] || {
		echo "no pages in share/man"
		return 77
	}
	status=0
	# shellcheck disable=SC2013 # names
	for f in $(sed '/^MRN_PRIVATE/,$d' "$src/mrn.map" | sed -n 's/^\t\([a-z_]*\);$/\1/p'); do
		case $f in
		# What inline functions call.
		mrn_check_driver_lock | mrn_check_lock_order | mrn_range_read_begin_slow) continue ;;
		esac
		[ -e "$man/$f.3" ] || [ -e "$man/$f.3.gz" ] || {
			echo "$f has no page"
			status=1
		}
	done
	return $status
}

# Every header alone, as the first that a file includes: headers_alone COMPILER ARGUMENT...
headers_alone() {
	for h in "$root"/include/mrn/*.h "$root"/include/mrn/linux/*.h; do
		h=${h#"$root/include/"}
		[ "$h" != mrn/io_uring.h ] || pkg-config --exists liburing || continue
		[ "$h" != mrn/verbs.h ] || pkg-config --exists libibverbs || continue
		[ "$h" != mrn/fabric.h ] || pkg-config --exists libfabric || continue
		# A file without a declaration is not C, and a header may have none.
		# shellcheck disable=SC2046 # words
		printf '#include <%s>\nextern int declaration;\n' "$h" | "$@" -Wall -Wextra -Werror -Wno-unused-parameter \
			-fsyntax-only - $(pc --cflags mrn) || return 1
	done
}

headers_alone_c() {
	# shellcheck disable=SC2086 # words
	headers_alone ${CC:-cc} -std=c11 -pedantic-errors -x c
}

headers_alone_cxx() {
	# shellcheck disable=SC2086 # words
	headers_alone ${CXX:-c++} -std=c++11 -pedantic-errors -x c++
}

# A kernel driver with its includes changed.
linux_driver() {
	# shellcheck disable=SC2046,SC2086 # words
	${CC:-cc} -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-parameter -c \
		-o "$tmp/driver.o" "$src/tests/core/linux_driver.c" $(pc --cflags mrn)
}

# The static library, without the shared one.
static_library() {
	# shellcheck disable=SC2046,SC2086 # words
	${CC:-cc} -std=c11 -D_GNU_SOURCE -Wall -Werror -o "$tmp/static" "$src/examples/shadow.c" \
		$(pc --cflags mrn) "$root/$libdir/libmrn.a" -pthread && run static
}

# static_program SOURCE PACKAGE: no shared library at all, libc's neither.
static_program() {
	pc --exists "$2" || {
		echo "$2 was not built"
		return 77
	}
	# shellcheck disable=SC2046,SC2086 # words
	${CC:-cc} -static -std=c11 -D_GNU_SOURCE -Wall -Werror -o "$tmp/static" "$1" \
		$(pc --cflags "$2") $(pc --static --libs "$2") && run static
}

# What a program links with has a .pc file of the project's version, and a static library. The interposer has none: it
# has to come before libc. What is only preloaded lies elsewhere.
each_library_is_described() {
	status=0
	for library in "$root/$libdir"/libmrn*.so; do
		name=$(basename "$library" .so)
		name=${name#lib}
		[ "$(pc --modversion "$name")" = "$(cat "$src/VERSION")" ] || {
			echo "$name.pc is not there, or not of this version"
			status=1
		}
		[ "$name" = mrn-interpose ] || [ -e "$root/$libdir/lib$name.a" ] || {
			echo "lib$name.a is not installed"
			status=1
		}
	done
	return $status
}

# The archive is the same whenever it is made, and no generated file is in it.
archive() {
	git -C "$src" rev-parse HEAD && command -v xz || return 77
	for dir in one two; do
		make -C "$src" dist DIST="$tmp/dist/$dir" || return 1
	done
	name=mrn-$(cat "$src/VERSION")
	cmp "$tmp/dist/one/$name.tar.xz" "$tmp/dist/two/$name.tar.xz" || return 1
	tar -tf "$tmp/dist/one/$name.tar.xz" >"$tmp/list" || return 1
	grep -qx "$name/meson.build" "$tmp/list" && ! grep -v "^$name/" "$tmp/list"
}

# The recorder is found beside the installed libraries.
watch() {
	tool=$root/bin/mrn
	[ -e "$tool" ] || {
		echo "the mrn command was not built"
		return 77
	}
	(cd "$tmp" && LD_LIBRARY_PATH=$root/$libdir "$tool" watch ./shadow) >"$tmp/watch.log" 2>&1 &&
		grep -q 'invalidations\? of .* 1 process, seen by' "$tmp/watch.log"
	status=$?
	cat "$tmp/watch.log"
	return $status
}

# Without a word about where the libraries are.
programs_start() {
	[ -e "$root/bin/mrn" ] && [ "$prefix" != /usr ] || {
		echo "no mrn command in a private prefix"
		return 77
	}
	"$root/bin/mrn" --version || return 1
	for program in "$root"/libexec/mrn/*; do
		case $program in *.so) continue ;; esac
		"$program" </dev/null
		[ $? != 127 ] || return 1
	done
}

# Also in a folder that was set up with another one, as by make demo: another_prefix MESON...
another_prefix() {
	command -v make || return 77
	for dir in one two; do
		make -C "$src" setup BUILD="$tmp/build" PREFIX="$tmp/$dir" || return 1
	done
	"$@" introspect --buildoptions "$tmp/build" | grep -q "\"prefix\", \"value\": \"$tmp/two\""
}

skip_all() {
	echo "1..0 # SKIP $1"
	exit 0
}

command -v pkg-config >/dev/null || skip_all "no pkg-config here"

echo "TAP version 13"
check install env DESTDIR="$tmp/root" "$@" install -C "$build" --no-rebuild
check files is_installed
check programs_start programs_start
check another_prefix another_prefix "$@"
check pages pages
check headers_alone headers_alone_c
check linux_driver linux_driver
check shadow_build build_c shadow "$src/examples/shadow.c" mrn
check shadow run shadow
check shadow_static static_library
check static_program static_program "$src/examples/shadow.c" mrn
check static_uring static_program "$src/examples/stale.c" mrn-uring
check each_library_is_described each_library_is_described
check archive archive
check watch watch
check regcache_build build_c regcache "$src/examples/regcache.c" mrn-interpose mrn
check regcache run regcache
if command -v "${CXX:-c++}" >/dev/null; then
	check headers_alone_cxx headers_alone_cxx
	check cxx_build build_cxx
	check cxx run cxx
else
	result ok "cxx # SKIP no C++ compiler here"
fi
echo "1..$number"
