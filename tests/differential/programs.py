# SPDX-License-Identifier: BSD-3-Clause
"""Compilers, interpreters and allocators, and the corners that programs get into with signals and stacks."""

import glob
import os
import pathlib
import re
import subprocess

from case import HERE, Case

PYTHON = "/usr/bin/python3"  # Debian's: what PATH has may be a script that starts another
PYTHON_TESTS = next(iter(glob.glob("/usr/lib/python3.*/test/test_mmap.py")), "/usr/lib/python3/test")
JEMALLOC = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"


def corners(program):
    names = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    # Some of them change nothing. That differences are noticed in what they print, others show.
    return [Case("corner " + name, [program, name], events=0, bad=()) for name in names]


def hard_cxx():
    """C++ that takes a compiler some memory."""
    lines = ["#include <algorithm>", "#include <map>", "#include <string>", "#include <vector>"]
    for i in range(40):
        lines.append(f"template <int N> struct S{i} {{ std::map<std::string, std::vector<int>> m; int f(int x) {{"
                     f" m[std::to_string(x + N)].push_back({i}); auto &v = m.begin()->second;"
                     " std::sort(v.begin(), v.end()); return (int)v.size() + N; } };")
        lines.append(f"int use{i}(int x) {{ S{i}<{i}> a; S{i}<{i * 7}> b; return a.f(x) * b.f(x); }}")
    return "\n".join(lines) + "\n"


def compiler(command, *options):
    # The driver itself leaves all work to its children.
    return Case(command, [command, "-O2", *options, "-c", "hard.cc", "-o", "hard.o"], needs=(command,),
                files=("hard.o",), prepare=lambda folder: (folder / "hard.cc").write_text(hard_cxx()), events=0,
                bad=("status",))


def without_times(text):
    """Without what says how long it took, in which order the tests came, and how busy the machine is."""
    text = re.sub(rb"\d+:\d+:\d+( load avg: [\d.]+)?", b"", text)
    text = re.sub(rb"\d+(\.\d+)? (ms|sec|min)( \d+ (ms|sec))?", b"", text)
    return re.sub(rb"0x[0-9a-f]+|pid[= ]\d+|_\d+\xc3?\xa6?", b"", text)


def go(scratch):
    def build(folder):
        # Once for all runs.
        made = pathlib.Path(scratch, "work")
        if not made.exists():
            env = dict(os.environ, GOCACHE=f"{scratch}/cache", GO111MODULE="off", CGO_ENABLED="1", HOME=scratch)
            subprocess.run(["go", "build", "-ldflags", "-linkmode external", "-o", made, HERE / "work.go"], env=env,
                           check=True, stdin=subprocess.DEVNULL, timeout=300)
        os.symlink(made, folder / "work")

    return Case("go", ["./work"], needs=("go", "gcc"), prepare=build)


def allocators(allocate, linked_with_jemalloc):
    def preloaded(name, settings, **more):
        return Case(name, [allocate], needs=(JEMALLOC,), env={"LD_PRELOAD": JEMALLOC, "MALLOC_CONF": settings}, **more)

    cases = [
        Case("malloc", [allocate]),
        preloaded("jemalloc, preloaded", "dirty_decay_ms:0,muzzy_decay_ms:0"),
        # That thread is there first, and blocks all signals: dispatch says that it cannot have it.
        preloaded("jemalloc's thread", "background_thread:true,dirty_decay_ms:10", sources=("auto", "interpose")),
    ]
    return cases + ([Case("jemalloc, linked", [linked_with_jemalloc])] if linked_with_jemalloc else [])


def programs(corners_program, allocate, linked_with_jemalloc, scratch):
    """scratch: a folder for what is built once."""
    return [
        *corners(corners_program),
        compiler("g++", "-frandom-seed=1"),
        compiler("clang++"),
        Case("python", [PYTHON, str(HERE / "work.py")], needs=(PYTHON,)),
        Case("python's own tests", [PYTHON, "-m", "test", "test_mmap", "test_threading", "test_threadsignals"],
             needs=(PYTHON, PYTHON_TESTS), plain=without_times, bad=()),
        go(scratch),
        *allocators(allocate, linked_with_jemalloc),
        Case("bash", ["bash", str(HERE / "work.sh")], needs=("bash", "xz", "perl", "awk"),
             plain=lambda text: re.sub(rb": +\d+ Seg", b": Seg", text)),
    ]
