#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Real programs, bare and under `mrn watch`: is what they do the same?

Each runs bare, then under dispatch and under interpose, mostly both alone and with --children. Compared are exit
status, standard output, standard error and the files that it leaves. And the watching has to have taken place.
Speaks TAP; a program that is not installed is skipped.
"""

import argparse
import concurrent.futures
import os
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True

from case import check
from guests import guests
from programs import programs
from server import servers
from stressors import stressors


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", help="mrn")
    parser.add_argument("corners", help="what corners.c is built into")
    parser.add_argument("allocate", help="what allocate.c is built into")
    parser.add_argument("family", choices=["programs", "guests", "stress"])
    parser.add_argument("--jemalloc", help="allocate, linked with jemalloc")
    parser.add_argument("--only", default="", help="those whose names contain this")
    args = parser.parse_args()
    tool = os.path.abspath(args.tool)
    scratch = tempfile.mkdtemp(prefix="mrn-differential-")
    sys.stdout.reconfigure(line_buffering=True)

    if args.family == "stress":
        cases = stressors()
    elif args.family == "guests":
        cases = guests(os.path.abspath(args.allocate), scratch)
    else:
        cases = programs(os.path.abspath(args.corners), os.path.abspath(args.allocate),
                         args.jemalloc and os.path.abspath(args.jemalloc), scratch) + servers()
    cases = [case for case in cases if args.only in case.name]
    print(f"1..{len(cases)}")
    failed = 0

    def result(case):
        reason = case.missing() or ("" if args.only else case.asked)
        return ([], reason) if reason else check(case, tool)

    try:
        # Two at a time: most of them wait for something, or for their children.
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for i, (case, (wrong, reason)) in enumerate(zip(cases, pool.map(result, cases)), 1):
                failed += bool(wrong)
                print(f"{'not ok' if wrong else 'ok'} {i} - {case.name}" + (f" # SKIP {reason}" if reason else ""))
                for line in wrong:
                    print(f"# {line}".replace("\n", "\n# "))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 1 if failed else 0


sys.exit(main())
