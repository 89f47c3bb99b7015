#!/usr/bin/env python3
"""docs/calls.md against the kernel's headers, and against what the sources bracket; and their list of calls against the headers.

calls_test.py ROOT COMPILER...: each name that the headers have is in its table, once. TAP on standard output.
"""

import pathlib
import re
import subprocess
import sys

ROOT, COMPILER = pathlib.Path(sys.argv[1]), sys.argv[2:]
DECISIONS = {"bracketed", "at times", "use once", "by a ring", "pinned stay", "new", "rights", "no",
             "out of reach"}
failures = 0


def tables(text):
    """{heading: {name: decision}}; a name that comes twice is an error."""
    found, heading = {}, None
    for line in text.splitlines():
        if line.startswith("## "):
            heading = found.setdefault(line[3:], {})
        cells = [c.strip() for c in line.strip("|").split("|")]
        if heading is None or not line.startswith("|") or cells[0] in ("decision", "---"):
            continue
        if cells[0] not in DECISIONS or len(cells) != 3 or not cells[2]:
            sys.exit(f"Bail out! no such decision, or no reason: {line}")
        for name in cells[1].split(", "):
            if name in heading:
                sys.exit(f"Bail out! {name} is there twice")
            heading[name] = cells[0]
    return found


def preprocessed(flags, *headers):
    source = "".join(f"#include <{h}>\n" for h in headers)
    return subprocess.run([*COMPILER, "-D_GNU_SOURCE", "-E", *flags, "-x", "c", "-"], input=source,
                          text=True, check=True, stdout=subprocess.PIPE).stdout


def macros(pattern, *headers, flags=()):
    """Of all macros that the headers define: what the pattern's group is of those whose name it is."""
    names = re.findall(r"^#define (\w+)", preprocessed(["-dM", *flags], *headers), re.M)
    return {m.group(1) for n in names if (m := re.fullmatch(pattern, n))}


def report(number, name, wrong):
    global failures
    failures += bool(wrong)
    print(f"{'not ok' if wrong else 'ok'} {number} - {name}")
    for w in sorted(wrong):
        print(f"# {w}")


def check_known(number, name, table, names):
    report(number, name, {f"{n} is not in docs/calls.md: decide" for n in names - set(table)})


def rows(*kinds):
    """Of source/bracket/calls.def: {name: the number that its row says}."""
    text = (ROOT / "source/bracket/calls.def").read_text()
    return {name: int(number) for kind, name, number in re.findall(r"^(\w+)\((\w+), (\d+)[,)]", text, re.M)
            if kind in kinds}


def wrong_numbers(said, header, offset=""):
    """Those that are not the header's. offset: what the header adds to each, as a pattern."""
    text = preprocessed(["-dM"], header)
    return {f"{name}: {header} does not have {number}" for name, number in said.items()
            if not re.search(rf"^#define __NR_{name} \(?{offset}{number}\)?$", text, re.M)}


def main():
    known = tables((ROOT / "docs/calls.md").read_text())
    calls = known["System calls"]
    x86 = macros(r"__(x86_64)__", "stddef.h")

    print("TAP version 13\n1..7")
    # Other machines have names of their own, and lack some.
    names = macros(r"__NR_(\w+)", "asm/unistd.h")
    check_known(1, "every_system_call", calls, names if x86 else names & set(calls))
    check_known(2, "every_operation_of_a_ring", known["Rings"],
                set(re.findall(r"\bIORING_OP_(\w+)", preprocessed([], "linux/io_uring.h"))) -
                {"LAST"})
    check_known(3, "every_advice", known["Advice"],
                macros(r"MADV_(\w+)", "sys/mman.h") | macros(r"MADV_(\w+)", "asm/mman.h"))
    check_known(4, "every_ioctl", known["Ioctls"],
                macros(r"(FS_IOC\w+|FI(?!LE_)[A-Z]\w+|BLK\w+|UFFDIO_[A-Z]+)", "linux/fs.h",
                       "linux/userfaultfd.h"))
    # What is said to be bracketed is what the code brackets.
    said = {n for n, d in calls.items() if d in ("bracketed", "at times")}
    code = rows("MEMORY", "MADE", "FILES", "BY_ARGUMENT", "COPIES") | {"vfork": 0}
    report(5, "what_is_bracketed",
           {f"{n}: the table and source/bracket/calls.def differ" for n in said ^ set(code)})
    x32 = rows("X32")
    i386 = rows("MEMORY", "MADE", "FILES", "BY_ARGUMENT", "CONFINES", "COPIES", "OTHER", "I386")
    report(6, "numbers_of_other_machines",
           wrong_numbers(i386, "asm/unistd_32.h") | wrong_numbers(x32, "asm/unistd_x32.h", r"__X32_SYSCALL_BIT \+ ")
           if x86 else set())
    # The known-bad twin: headers that know a call more.
    more = macros(r"__NR_(\w+)", "asm/unistd.h", flags=["-D__NR_one_more=9999"]) - set(calls)
    report(7, "a_new_call_is_noticed", set() if "one_more" in more else {"it is not"})
    return 1 if failures else 0


sys.exit(main())
