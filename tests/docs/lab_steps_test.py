#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Does docs/lab-steps.md have the steps that the lab has, each found often enough? Speaks TAP.
#
#       lab_steps_test.py SOURCE TOOL

import re
import subprocess
import sys
from pathlib import Path

source, tool = Path(sys.argv[1]), sys.argv[2]
tests = []


def test(f):
    tests.append(f)
    return f


def of_lab():
    text = subprocess.run([tool, "lab", "--list-steps"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return [tuple(line.split(None, 2)) for line in text.splitlines()]


def rows(text):
    """(driver, step, words, found on, operations) of each line."""
    table = re.search(r"<!-- steps -->\n(?:[^\n]*\n){2}(.*?)<!-- end -->", text, re.S)
    return [tuple(line.strip("| ").split(" | ")) for line in table.group(1).splitlines()]


def differences(page, lab):
    for step in sorted(set(lab) - set(page)):
        yield "missing: " + " | ".join(step)
    for step in sorted(set(page) - set(lab)):
        yield "no longer there: " + " | ".join(step)
    if len(page) != len(set(page)):
        yield "a step has two lines"


def rarely_found(page):
    for row in page:
        if int(row[3]) < 9:
            yield "%s %s is found on %s of 10 seeds" % (row[0], row[1], row[3])


@test
def the_table_has_the_steps_of_the_lab():
    yield from differences([row[:3] for row in rows((source / "docs/lab-steps.md").read_text())], of_lab())


@test
def each_is_found_on_9_of_10_seeds():
    yield from rarely_found(rows((source / "docs/lab-steps.md").read_text()))


@test
def this_test_notices_what_is_wrong():
    """A twin."""
    page = rows("<!-- steps -->\n| driver |\n|---|\n| a | no_retry | maps | 10 | 5 |\n| b | leak | forgets | 8 | 7 |\n<!-- end -->\n")
    if [row[:3] for row in page] != [("a", "no_retry", "maps"), ("b", "leak", "forgets")]:
        yield "it cannot read a table: %s" % page
    if len(list(differences([("a", "x", "y"), ("a", "x", "y")], [("a", "x", "z")]))) != 3:
        yield "tables that differ are taken for the same"
    if list(rarely_found(page)) != ["b leak is found on 8 of 10 seeds"]:
        yield "what is rarely found is not told"


print("1..%d" % len(tests))
failed = False
for i, f in enumerate(tests, 1):
    problems = list(f())
    failed |= bool(problems)
    print("%s %d - %s" % ("not ok" if problems else "ok", i, f.__name__))
    for problem in problems:
        print("# " + problem)
sys.exit(failed)
