#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
#
# Do the manual pages of the mrn command say what the command says of itself? Options and their arguments, defaults,
# exit statuses, suites, commands, and which source is tried first. And those of functions, what the headers say?
# Speaks TAP.
#
#       man_test.py SOURCE TOOL

import re
import subprocess
import sys
from pathlib import Path

source, tool = Path(sys.argv[1]), sys.argv[2]
commands = ["bench", "check", "coverage", "demo", "lab", "run", "watch"]
tests = []


def test(f):
    tests.append(f)
    return f


def help_of(*words):
    return subprocess.run([tool, *words, "--help"], stdout=subprocess.PIPE, text=True, check=True).stdout


def plain(text):
    """What a reader sees of a page: no macros, fonts, quotes."""
    text = re.sub(r"\\f.", "", text).replace(r"\-", "-").replace(r"\(aq", "'")
    return re.sub(r"^\.\w+ ?", "", text, flags=re.M).replace('"', "")


def page(name):
    return (source / "man" / name).read_text()


def section(text, title):
    found = re.search(r"^\.SH %s$(.*?)(?=^\.SH |\Z)" % title, text, re.M | re.S)
    return found.group(1) if found else ""


def one_line(text):
    return " ".join(text.split())


OPTION = re.compile(r"--([a-z][a-z-]*)(\[?)(?:=([A-Z]+))?")


def options_of(tag):
    """{name: (argument, may be left out)} of '-o FILE, --output=FILE' and the like"""
    return {m.group(1): (m.group(3) or "", bool(m.group(2) and m.group(3))) for m in OPTION.finditer(tag)}


def helped(command):
    """{name: (argument, optional, description)}, by --help"""
    text = help_of(*(["bench", "core"] if command == "bench" else [command]))
    found, name = {}, None
    for line in text.splitlines():
        m = re.match(r" {2,6}(?:-\S, )? *(--\S+)(?: {2,}(.*))?$", line)
        if m:
            ((name, (argument, optional)),) = options_of(m.group(1)).items()
            found[name] = (argument, optional, m.group(2) or "")
        elif name and line.startswith(" " * 20):
            found[name] = (*found[name][:2], found[name][2] + " " + line.strip())
        else:
            name = None
    return found


def documented(command):
    """The same, by the page."""
    found = {}
    for entry in section(page("mrn-%s.1" % command), "OPTIONS").split("\n.TP\n")[1:]:
        tag, _, text = entry.partition("\n")
        # The parts of a tag, which troff puts together.
        tag = plain(tag).replace("-o FILE, ", "").replace(", ", "\t").replace(" ", "").replace("\t", ", ")
        for name, (argument, optional) in options_of(tag).items():
            if name in found:
                text = found[name][2] + text
                argument = argument or found[name][0]
            found[name] = (argument, optional, one_line(plain(text)))
    return found


def need(problems, condition, what):
    if not condition:
        problems.append(what)


@test
def options_are_those_of_the_command():
    for command in commands:
        theirs, ours = helped(command), documented(command)
        problems = []
        need(problems, theirs, "--help of %s lists no options" % command)
        for name in sorted(theirs.keys() | ours.keys()):
            need(problems, name in ours, "mrn-%s.1 has no --%s" % (command, name))
            need(problems, name in theirs, "mrn-%s.1 has --%s, and the command has not" % (command, name))
            if name in ours and name in theirs:
                need(problems, ours[name][:2] == theirs[name][:2],
                     "--%s of %s: %s and %s" % (name, command, ours[name][:2], theirs[name][:2]))
        yield from problems


@test
def synopses_have_all_options():
    for command in commands:
        synopsis = plain(section(page("mrn-%s.1" % command), "SYNOPSIS"))
        for name in helped(command).keys() - {"help", "usage", "version"}:
            if "--" + name not in synopsis and not (name == "output" and "-o" in synopsis):
                yield "the synopsis of mrn-%s.1 has no --%s" % (command, name)


@test
def defaults_are_the_same():
    for command in commands:
        ours = documented(command)
        for name, (_, _, text) in helped(command).items():
            found = re.search(r"\((\d+\w?|all|auto|the time)([^()]*)\)", text)
            if not found or name not in ours:
                continue
            words = [found.group(1)] + re.findall(r"\b\d+\b", found.group(2))
            for word in words + ["default"]:
                if not re.search(r"\b%s\b" % re.escape(word), ours[name][2]):
                    yield "--%s of %s: no %s in \"%s\"" % (name, command, word, ours[name][2])


def scaled(word, by):
    """ "64M" and 1 -> one more than that, in the smallest unit """
    number, unit = re.match(r"(\d+)([KMG]?)", word).groups()
    return str((int(number) << {"": 0, "K": 10, "M": 20, "G": 30}[unit]) + by)


@test
def limits_are_those_of_the_command():
    """Just outside of "1 to 8" is refused."""
    some = 0
    for command in commands:
        for name, (_, _, text) in documented(command).items():
            found = re.search(r"\b(\d+[KMG]?) to (\d+[KMG]?)\b", text)
            if not found:
                continue
            some += 1
            words = ["bench", "core"] if command == "bench" else [command]
            for value in (scaled(found.group(1), -1), scaled(found.group(2), 1)):
                run = subprocess.run([tool, *words, "--%s=%s" % (name, value), *(["true"] if command == "watch" else [])],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
                if run.returncode != 2:
                    yield "%s takes --%s=%s, which is not %s" % (command, name, value, found.group(0))
                # The largest and the smallest that it says it takes are the page's.
                elif command != "demo" and not all(n in run.stderr for n in found.groups()):
                    yield "%s --%s: %s and %s" % (command, name, found.group(0), run.stderr.strip())
    if some < 5:
        yield "only %d limits" % some


@test
def exit_statuses_are_the_same():
    for command in commands:
        text = one_line(help_of(*(["bench", "core"] if command == "bench" else [command])))
        said = re.search(r"(Exits with|The exit status is).*", text)
        if not said:
            yield "--help of %s says nothing of the exit status" % command
            continue
        theirs = set(re.findall(r"\b\d+\b", said.group(0)))
        ours = set(re.findall(r"^\.B (\d+)$", section(page("mrn-%s.1" % command), "EXIT STATUS"), re.M))
        if theirs != ours:
            yield "exit statuses of %s: %s and %s" % (command, sorted(ours), sorted(theirs))


@test
def commands_and_suites_are_there():
    listed = re.findall(r"^  ([a-z]+) ", help_of(), re.M)
    ours = re.findall(r"^\.B (\w+)$", section(page("mrn.1"), "COMMANDS"), re.M)
    if not listed or sorted(listed) != sorted(ours):
        yield "commands: %s and %s" % (ours, listed)
    suites = re.findall(r"^  (\w+) ", help_of("bench").partition("Suites:")[2], re.M)
    ours = re.findall(r"^\.SS (\w+)$", section(page("mrn-bench.1"), "SUITES"), re.M)
    if not suites or sorted(suites) != sorted(ours):
        yield "suites: %s and %s" % (ours, suites)


def normal(text):
    return re.sub(r"\s*([(),*;])\s*", r"\1", one_line(text))


@test
def prototypes_are_those_of_the_headers():
    headers = "".join(f.read_text() for f in sorted((source / "include/mrn").rglob("*.h")))
    headers = normal(re.sub(r"/\*.*?\*/", "", headers, flags=re.S))
    some = 0
    for f in sorted((source / "man").glob("*.3")):
        synopsis = plain(section(f.read_text(), "SYNOPSIS"))
        synopsis = re.sub(r"/\*.*?\*/|^#.*", "", synopsis, flags=re.M)
        # What is in braces declares types.
        for declaration in re.sub(r"\{[^{}]*\}", "", synopsis, flags=re.S).split(";"):
            if re.match(r"[a-z][\w *]*\b\w+\(", normal(declaration)):
                some += 1
                if normal(declaration) not in headers:
                    yield "%s: %s" % (f.name, normal(declaration))
    if some < 50:
        yield "only %d prototypes" % some


@test
def every_function_has_a_page():
    pages = (source / "man/meson.build").read_text()
    for f in (source / "mrn.map", *source.glob("adapters/*/mrn-*.map")):
        exported = re.search(r"global:(.*?)local:", f.read_text(), re.S).group(1)
        for name in re.findall(r"^\s*(\w+);", exported, re.M):
            # Some are there for inline functions, and nobody else calls them.
            if "'%s'" % name not in pages and name not in ("mrn_check_driver_lock", "mrn_check_lock_order",
                                                           "mrn_range_read_begin_slow"):
                yield "%s has no page" % name


@test
def every_reason_for_one_use_is_explained():
    rows = re.findall(r"^ONCE\((\w+),", (source / "source/use_once.def").read_text(), re.M)
    ours = re.findall(r"^\.TP\n\.B MRN_ONCE_(\w+)$", page("mrn_source.3"), re.M)
    return [] if rows and rows == ours else ["source/use_once.def: %s; mrn_source.3: %s" % (rows, ours)]


@test
def the_first_source_is_named_everywhere():
    rows = re.findall(r"ROW\([A-Z]+, (\w+), (.*?)\)", (source / "source/kinds.h").read_text())
    says = " where it works, else ".join(name for name, facts in reversed(rows) if "BY_ARMING" not in facts)
    for name, text in (
        ("mrn-watch.1", plain(page("mrn-watch.1"))),
        ("mrn watch --help", help_of("watch")),
    ):
        if says not in one_line(text):
            yield "%s does not say \"%s\"" % (name, says)
    if "(`--source auto`)" not in (source / "docs/watch.md").read_text():
        yield "docs/watch.md does not say what the default is"


@test
def this_test_notices_what_is_missing():
    """A twin: the pages of another command are not this one's."""
    documents = documented("lab")
    if documents.keys() >= helped("demo").keys() or documents["ops"][:2] == helped("watch")["json"][:2]:
        yield "pages of two commands are taken for the same"
    if options_of("--json[=FILE]") != {"json": ("FILE", True)} or options_of("--a=B") != {"a": ("B", False)}:
        yield "an argument that may be left out is not told from one that may not"


print("1..%d" % len(tests))
failed = False
for i, f in enumerate(tests, 1):
    problems = list(f())
    failed |= bool(problems)
    print("%s %d - %s" % ("not ok" if problems else "ok", i, f.__name__))
    for problem in problems:
        print("# " + problem)
sys.exit(failed)
