# SPDX-License-Identifier: BSD-3-Clause
"""One program, run bare and under `mrn watch`: what came out of it each time, and whether that is the same."""

import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import typing

HERE = pathlib.Path(__file__).resolve().parent
LIMIT_S = 60
WATCHED = re.compile(rb"^.*: (\d+) invalidations? of .*, seen by ([\w ,]+)\n", re.M)


@dataclasses.dataclass
class Case:
    """command runs in an empty folder; FOLDER in its environment stands for that."""

    name: str
    command: list
    env: dict = dataclasses.field(default_factory=dict)
    needs: tuple = ()  # commands, and files, without which it is skipped
    asked: str = ""  # why it runs only when it is asked for by name
    prepare: typing.Callable = None  # (folder): what is there before it starts
    drive: typing.Callable = None  # (folder): uses a server until it ends; what it returns is compared, too
    files: tuple = ()  # what it leaves, to be compared byte by byte
    plain: typing.Callable = bytes  # what is left of a text that is compared
    events: int = 1  # that the tool must have seen at least
    sources: tuple = ("dispatch", "interpose")
    options: tuple = ((), ("--children",))
    bad: tuple = ("status", "byte")  # changes of known_bad.py that must be noticed

    def missing(self):
        for need in self.needs:
            if not (os.path.exists(need) if need.startswith("/") else shutil.which(need)):
                return f"{need} is not there"
        return None


def session(leader):
    """The processes that live in a session that we have started."""
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == leader and state not in "ZX":
            yield int(stat.parent.name)


def end_session(leader, patience_s):
    """Waits for what its leader has left, which may have something to clear up, then kills it."""
    until = time.monotonic() + patience_s
    while any(pid != leader for pid in session(leader)) and time.monotonic() < until:
        time.sleep(0.01)
    for pid in session(leader):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def run(case, wrap, limit_s):
    """What came out of it, as a dictionary of things to be compared, and (source, events) if the tool has watched it."""
    folder = tempfile.mkdtemp(prefix="mrn-differential-")
    try:
        if case.prepare:
            case.prepare(pathlib.Path(folder))
        env = {"PATH": os.environ["PATH"], "HOME": folder, "LC_ALL": "C"}
        env |= {name: value.replace("FOLDER", folder) for name, value in case.env.items()}
        with open(f"{folder}/.out", "w+b") as out, open(f"{folder}/.err", "w+b") as err:
            p = subprocess.Popen([*wrap, *case.command], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=err, start_new_session=True)
            used, patience_s = None, 5
            try:
                used = case.drive(folder) if case.drive else None
                status = p.wait(limit_s)
            except (subprocess.SubprocessError, OSError) as e:
                status, patience_s = f"none: {e}", 0
            end_session(p.pid, patience_s)
            p.wait()
            out.seek(0)
            err.seek(0)
            text, errors = out.read(), err.read()
        said = list(WATCHED.finditer(errors))
        if said:
            errors = errors[:said[-1].start()]
        result = {"exit status": status, "output": case.plain(text), "errors": case.plain(errors), "use": used}
        for name in case.files:
            path = pathlib.Path(folder, name)
            result[name] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "not there"
        return result, (said[-1][2].decode(), int(said[-1][1])) if said else None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def differences(bare, here):
    """Lines that show what is not the same, of a text only what the other does not have."""
    lines = []
    for key in bare:
        if bare[key] == here[key]:
            continue
        lines.append(f"{key}:")
        for who, value, other in ("bare", bare[key], here[key]), ("here", here[key], bare[key]):
            if isinstance(value, bytes):
                known = set(other.splitlines())
                shown = [line for line in value.splitlines() if line not in known] or value.splitlines()
                value = b"\n\t\t".join(shown[:10]).decode(errors="replace")
            lines.append(f"\t{who}:\t{value}")
    return lines


def check(case, tool):
    """Lines that say what was wrong, none when all was right, and a reason if it cannot be run here."""
    wrong = []
    bare, _ = run(case, [], LIMIT_S)
    said = bare["output"] + bare["errors"]
    if b"skipping" in said:
        return wrong, said.decode().splitlines()[0]
    for source in case.sources:
        for options in case.options:
            here, watched = run(case, [tool, "watch", "--source", source, *options, "--"], LIMIT_S * 3)
            found = differences(bare, here)
            if not found and (not watched or source not in ("auto", watched[0]) or watched[1] < case.events):
                found = [f"it was not watched: {watched}"]
            wrong += [f"{' '.join([source, *options])}: {line}" for line in found]
    for way in case.bad:
        known_bad = [sys.executable, str(HERE / "known_bad.py"), way]
        if not differences(bare, run(case, known_bad, 5 if way == "hang" else LIMIT_S)[0]):
            wrong.append(f"known bad: another {way} is not noticed")
    return wrong, None
