#!/usr/bin/env python3
"""The probes of libmrn against docs/probes.md, by the notes in the ELF file.

probes_test.py ROOT LIBRARY: TAP on standard output.
"""

import pathlib
import re
import subprocess
import sys

ROOT, LIBRARY = pathlib.Path(sys.argv[1]), sys.argv[2]


def documented():
    """Name to number of arguments."""
    page = (ROOT / "docs/probes.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", page, re.M)
    return {name: len(arguments.split(", ")) for name, arguments in rows}


def built():
    out = subprocess.run(["readelf", "-n", LIBRARY], check=True, capture_output=True, text=True).stdout
    notes = re.findall(r"Provider: (\w+)\s+Name: (\w+)\s+Location: .*\s+Arguments:(.*)", out)
    return {(provider, name, len(arguments.split())) for provider, name, arguments in notes}


def main():
    print("1..1")
    want = {("mrn", name, n) for name, n in documented().items()}
    have = built()
    if have == want and want:
        print("ok 1 - probes")
        return 0
    print("not ok 1 - probes")
    for provider, name, n in sorted(want - have):
        print(f"# documented, not in the library: {provider}:{name} with {n} arguments")
    for provider, name, n in sorted(have - want):
        print(f"# in the library, not documented: {provider}:{name} with {n} arguments")
    return 1


sys.exit(main())
