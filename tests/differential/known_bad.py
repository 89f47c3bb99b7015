#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs a program and changes one thing about what it does, which the comparison has to notice.

    known_bad.py status|byte|hang PROGRAM ARGUMENT...
"""

import signal
import subprocess
import sys

way, command = sys.argv[1], sys.argv[2:]
if way == "hang":
    signal.pause()
done = subprocess.run(command, stdout=subprocess.PIPE)
out = bytearray(done.stdout)
if way == "byte" and out:
    out[len(out) // 2] ^= 1
sys.stdout.buffer.write(out)
sys.exit(done.returncode ^ 1 if way == "status" else done.returncode & 255)
