#!/usr/bin/env python3
"""The consumer of the README's API screen, compiled as it stands there, against changes that no library sees.

consumer_test.py ROOT BUILD COMPILER...: TAP on standard output.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT, BUILD, COMPILER = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]

# What the README leaves to its reader.
BEFORE = r"""
#include <malloc.h>
#include <mrn/mrn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;
static struct mrn_source *source;
static int published, told;

static void tear_down(uintptr_t start, uintptr_t end) { (void)start; (void)end; told += published; published = 0; }
static void pin(uintptr_t addr, size_t length) { (void)addr; (void)length; }
static void unpin(uintptr_t addr, size_t length) { (void)addr; (void)length; }
static void publish(uintptr_t addr, size_t length) { (void)addr; (void)length; published = 1; }

static void raw_munmap(void *p, size_t length)
{
	long r;
#if defined(__x86_64__)
	__asm__ volatile("syscall" : "=a"(r) : "0"(SYS_munmap), "D"(p), "S"(length) : "rcx", "r11", "memory");
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = SYS_munmap, x1 __asm__("x1") = (long)length;
	register long x0 __asm__("x0") = (long)p;
	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
	r = x0;
#endif
	if (r)
		exit(2);
}

static void by_raw_munmap(void *p, size_t length) { raw_munmap(p, length); }
static void by_free(void *p, size_t length) { (void)length; free(p); }
"""

AFTER = r"""
static int is_told(void (*change)(void *p, size_t length), void *p, size_t length)
{
	memset(p, 1, length);
	told = 0;
	consumer((uintptr_t)p, length, change, p);
	return told;
}

int main(void)
{
	const size_t length = 1 << 20;
	char why[512] = "";
	struct mrn_source_opts opts = {.size = sizeof(opts), .need = MRN_COVER_PAGES, .why = why, .why_size = sizeof(why)};

	mallopt(M_MMAP_THRESHOLD, 128 << 10);
	if (mrn_source_attach(mrn_mm_self(), MRN_SOURCE_AUTO, &opts, &source)) {
		puts(why);
		return 77;
	}
	printf("%d ", is_told(by_raw_munmap, mmap(NULL, length, PROT_READ | PROT_WRITE,
						  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), length));
	printf("%d\n", is_told(by_free, malloc(length), length));
	return 0;
}
"""


def consumer():
    """The README's function, and its statements in one."""
    text = (ROOT / "README.md").read_text()
    block = re.search(r"A consumer of your own.*?```c\n(.*?)```", text, re.S).group(1)
    callback, statements = re.split(r"^(?=mrn_range_notifier_insert)", block, maxsplit=1, flags=re.M)
    loop, end = re.split(r"^(?=mmu_range_notifier_remove)", statements, maxsplit=1, flags=re.M)
    return (callback + "static const struct mmu_range_notifier_ops ops = {.invalidate = invalidate};\n"
            "static void consumer(uintptr_t addr, size_t length, void (*change)(void *, size_t), void *p)\n{\n"
            "struct mmu_range_notifier mrn = {.ops = &ops};\nuint64_t seq;\n"
            f"{loop}change(p, length);\nseq = mmu_range_read_begin(&mrn);\n{end}}}\n")


def run(code, folder):
    """What was told, "" if this machine has no source for it."""
    source, program = folder / "consumer.c", folder / "consumer"
    source.write_text(BEFORE + code + AFTER)
    subprocess.run([*COMPILER, "-D_GNU_SOURCE", "-Wall", "-Werror", "-I", ROOT / "include", source, "-o", program,
                    "-L", BUILD, "-Wl,--no-as-needed", "-lmrn-interpose", "-lmrn", "-pthread"], check=True)
    done = subprocess.run([program], text=True, stdout=subprocess.PIPE,
                          env={**os.environ, "LD_LIBRARY_PATH": str(BUILD)})
    if done.returncode == 77:
        print("1..0 # SKIP " + done.stdout.strip())
        sys.exit(0)
    return done.stdout.split() if not done.returncode else []


def main():
    with tempfile.TemporaryDirectory() as folder:
        code = consumer()
        told = run(code, pathlib.Path(folder))
        # The known-bad twin: a notifier that no source watches.
        unwatched = re.sub(r"mrn_range_notifier_insert\((.*), source, MRN_COVER_PAGES\)",
                           r"mmu_range_notifier_insert(\1, mrn_mm_self())", code)
        twin = run(unwatched, pathlib.Path(folder))
    print("TAP version 13\n1..3")
    results = [told[:1] == ["1"], told[1:] == ["1"], unwatched != code and twin[:1] == ["0"]]
    names = ["told_of_a_raw_munmap", "told_of_a_free_inside_libc", "unwatched_is_not_told"]
    for n, (good, name) in enumerate(zip(results, names), 1):
        print(f"{'ok' if good else 'not ok'} {n} - {name}")
    return 0 if all(results) else 1


sys.exit(main())
