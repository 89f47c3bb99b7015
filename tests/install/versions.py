#!/usr/bin/env python3
"""Copies the public headers as an earlier, or a later, version would have them: versions.py earlier|later FROM TO --stamp FILE

In each structure that grows, the earlier version lacks the last member, and the later one has one more, `later`. Options
keep why and why_size, which they have from their first version on: what stands before size and after these may go.
"""

import pathlib
import re
import sys

GROWING = ["mrn_coverage", "mrn_source_opts", "mrn_regcache_opts", "mrn_regcache_stats", "mrn_hmm_opts",
           "mrn_hmm_stats", "mrn_uring_opts", "mrn_verbs_opts", "mrn_ucx_opts", "mrn_ucx_stats"]


def change(which, name, body):
    if which == "later":
        return body + "\tuint64_t later;\n"
    lines = body.rstrip("\n").split("\n")
    # Where why is last, there is nothing that an earlier version could lack.
    return body if "why_size" in lines[-1] else "\n".join(lines[:-1]) + "\n"


def main():
    which, source, target = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    changed = set()
    for header in source.rglob("*.h"):
        text = header.read_text()
        for name in GROWING:
            pattern = re.compile(r"(struct %s \{\n)(.*?)(\};\n)" % name, re.S)
            new = pattern.sub(lambda m: m[1] + change(which, name, m[2]) + m[3], text)
            if pattern.search(text):
                changed.add(name)
            text = new
        path = target / header.relative_to(source)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    missing = set(GROWING) - changed
    if missing:
        sys.exit(f"versions.py: no such structure: {', '.join(sorted(missing))}")
    pathlib.Path(sys.argv[5]).touch()


main()
