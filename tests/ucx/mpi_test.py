#!/usr/bin/env python3
"""An unmodified MPI program under mrn run: mpi_test.py MRN WINDOW_C. Speaks TAP; skips an MPI that is not installed."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

mrn, source = sys.argv[1:]
UCX = ["--mca", "pml", "ucx", "--mca", "osc", "ucx", "--mca", "opal_common_ucx_tls", "any",
       "--mca", "opal_common_ucx_devices", "any"]
MPIS = {"openmpi": ["mpirun.openmpi", "--oversubscribe", *UCX, "-n", "2"], "mpich": ["mpirun.mpich", "-n", "2"]}
# Open MPI refuses root otherwise.
ENV = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def run(mpi, program, source):
    return subprocess.run([*MPIS[mpi], mrn, "run", "--for", "ucx", "--source", source, "--", program],
                          env=ENV, capture_output=True, text=True, timeout=120)


def check(done, source):
    """What is wrong, or None."""
    if done.returncode:
        return f"status {done.returncode}"
    if "every byte right" not in done.stdout:
        return "the program does not say that every byte is right"
    # Once for each rank.
    if done.stderr.count(f"seen by {source}") != 2:
        return f"not both ranks say that {source} watches"
    if done.stderr.count("caches were told of") != 2:
        return "not both ranks say how many changes there were"
    return None


def main():
    cases = [(mpi, s) for mpi in MPIS for s in ("interpose", "dispatch")]
    print(f"TAP version 13\n1..{len(cases)}")
    with tempfile.TemporaryDirectory() as folder:
        for number, (mpi, source_name) in enumerate(cases, 1):
            name = f"{number} - {mpi}_{source_name}"
            program = pathlib.Path(folder) / mpi
            if not shutil.which(f"mpicc.{mpi}") or not shutil.which(f"mpirun.{mpi}"):
                print(f"ok {name} # SKIP no {mpi}")
                continue
            if not program.exists():
                subprocess.run([f"mpicc.{mpi}", "-O2", "-o", program, source], check=True)
            done = run(mpi, program, source_name)
            wrong = check(done, source_name)
            if source_name == "dispatch" and "not installed" in done.stderr:
                print(f"ok {name} # SKIP no dispatch")
            else:
                print(f"{'not ok' if wrong else 'ok'} {name}")
            if wrong:
                print("\n".join("# " + line for line in (wrong + "\n" + done.stdout + done.stderr).splitlines()))


main()
