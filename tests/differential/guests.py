# SPDX-License-Identifier: BSD-3-Clause
"""Programs that the recorder cannot enter, or that somebody else has in hand: tracers, sandboxes, other libcs."""

import os
import re
import subprocess

from case import HERE, Case

SSHD = "/usr/sbin/sshd"
NOT_ROOT = "" if os.getuid() == 0 else "only root can"
GDB = "gdb -nx -q -batch -ex 'set print thread-events off' -ex run --args"


def without_notes(text):
    """Without process numbers, and valgrind's remark that it does not know remap_file_pages, which we try."""
    return re.sub(rb"\(process \d+\)|--\d+-- .*\n", b"", text)


def built(scratch, name, compiler, *options):
    """allocate.c by that compiler, once for all runs; what makes it."""

    def build(folder):
        made = os.path.join(scratch, name)
        if not os.path.exists(made):
            subprocess.run([compiler, *options, "-w", "-g", "-o", made, HERE / "allocate.c", "-lpthread"], check=True,
                           stdin=subprocess.DEVNULL, timeout=120)
        os.symlink(made, folder / "work")

    return build


def sanitized(scratch):
    kinds = {"address": ("gcc", "clang"), "thread": ("gcc", "clang"), "undefined": ("gcc", "clang"),
             "memory": ("clang",)}
    for kind, compilers in kinds.items():
        for compiler in compilers:
            name = f"{compiler}-{kind}"
            # What the sanitizer does about its memory is its own; that the program runs is the point.
            yield Case(f"{compiler}'s {kind} sanitizer", ["sh", "-c", "./work; echo $?"], needs=(compiler,),
                       prepare=built(scratch, name, compiler, f"-fsanitize={kind}", "-DSTEPS=1000"), events=0, bad=())


def prepare_sshd(folder):
    for key in "host", "user":
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    os.rename(folder / "user.pub", folder / "authorized")
    os.makedirs("/run/sshd", exist_ok=True)
    (folder / "sshd_config").write_text(
        f"HostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\nLogLevel ERROR\n"
        "PermitRootLogin yes\nPrintMotd no\nPrintLastLog no\n")
    # The connection is a pair of pipes: no port is taken.
    (folder / "ssh_config").write_text(
        f"Host *\nProxyCommand {SSHD} -i -f {folder}/sshd_config 2>>{folder}/log\nIdentityFile {folder}/user\n"
        f"StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\nBatchMode yes\n")


def guests(allocate, scratch):
    """allocate: a program that changes memory, and ends by itself; scratch: a folder for what is built once."""

    def by_shell(name, command, *needs, **more):
        return Case(name, ["sh", "-c", f"{command}; echo $?"], needs=needs, events=0, bad=(), **more)

    return [
        by_shell("valgrind", f"valgrind -q {allocate}", "valgrind", plain=without_notes),
        # By itself it cannot be entered: the tool says so, or takes the source that can.
        Case("valgrind, by itself", ["valgrind", "-q", allocate], needs=("valgrind",), events=0, bad=(),
             sources=("auto", "interpose"), options=((),), plain=without_notes),
        by_shell("gdb", f"{GDB} {allocate}", "gdb", plain=without_notes),
        by_shell("strace", f"strace -f -o /dev/null {allocate}", "strace"),
        by_shell("musl", "./work", "musl-gcc", prepare=built(scratch, "musl", "musl-gcc")),
        by_shell("musl, in the place of a shell", "(exec ./work)", "musl-gcc",
                 prepare=built(scratch, "musl", "musl-gcc")),
        by_shell("static", "./work", "gcc", prepare=built(scratch, "static", "gcc", "-static")),
        by_shell("bubblewrap", f"bwrap --ro-bind / / --unshare-pid --unshare-user --proc /proc {allocate}", "bwrap"),
        by_shell("another user", f"setpriv --reuid=65534 --regid=65534 --clear-groups {allocate}", "setpriv",
                 asked=NOT_ROOT),
        by_shell("sshd", "for i in 1 2 3; do ssh -F ssh_config root@here 'echo hello; id -un'; done", SSHD, "ssh",
                 "ssh-keygen", prepare=prepare_sshd, asked=NOT_ROOT),
        *sanitized(scratch),
    ]
