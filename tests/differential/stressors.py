# SPDX-License-Identifier: BSD-3-Clause
"""stress-ng's stressors of memory, and of what a recorder could get into the way of: signals, stacks, processes."""

import re

from case import Case

# Operations for two instances of each. Not here:
#	munmap		unmaps all that it does not know, the watching library too
#	forkheavy, resources	take all that there is, of disk space too
#	sigio		by itself, reads the end of a pipe for ever when its child is slow
#	mlockmany, oom-pipe	are refused by stress-ng without --pathological
#	swap, tmpfs, physpage	want a machine of their own
STRESSORS = """
alarm=200 bad-altstack=100 bigheap=20 brk=500 clone=100 context=100 dev-shm=5 dynlib=20 env=2 exit-group=20
fault=200 fork=100 futex=200 io-uring=20 itimer=200 kill=200 longjmp=500 madvise=2 malloc=2000
membarrier=20 memfd=2 memthrash=4 mincore=10 mlock=10 mmap=1 mmapaddr=20 mmapfixed=5 mmapfork=1 mmaphuge=2 mmapmany=2
mprotect=20 mremap=2 msync=10 msyncmany=2 nanosleep=20 numa=2 pagemove=2 pageswap=20 pidfd=50 pkey=50 prctl=50
pthread=200 ptrace=20 remap=5 rmap=4 seccomp=10 session=10 set=50 shm=4 shm-sysv=4 sigabrt=50 sigchld=50 sigfd=200
sigfpe=200 signal=500 signest=50 sigpending=200 sigpipe=200 sigq=200 sigrt=62 sigsegv=500 sigsuspend=500 sigtrap=200
sleep=10 stack=2 stackmmap=5 switch=200 timer=200 timerfd=100 tlb-shootdown=10 unshare=5 userfaultfd=500
usersyscall=200 vdso=500 vfork=500 vforkmany=20 vm=10 vm-addr=4 vm-rw=4 vm-segv=10 vm-splice=50 wait=20 zombie=50
""".split()
MORE = {"vm": ["--vm-bytes", "16M"], "mmap": ["--mmap-bytes", "8M"]}
ASKED = {"mmapfork": "takes half of all memory"}


def outcome(text, operations):
    """What it says of failures and of stressors that it skips, and whether it has counted all operations, or more."""
    kept = set()
    for line in text.splitlines():
        if re.search(rb": (fail|error|warn):|skip|completed", line):
            kept.add(re.sub(rb"completed in .*", b"completed", re.sub(rb"\[\d+\]", b"", line)))
    counts = re.findall(rb"metrc: \[\d+\] \S+ +(\d+) ", text)
    return b"\n".join(sorted(kept) + [b"all done: %d" % (int(count) >= operations) for count in counts])


def stressor(name, operations):
    # vforkmany sleeps for as long as it is given, whatever it has done.
    limit = "3" if name == "vforkmany" else "120"
    command = ["stress-ng", f"--{name}", "2", f"--{name}-ops", str(operations), "--verify", "--metrics", "-t", limit]
    return Case(f"stress-ng {name}", command + MORE.get(name, []), needs=("stress-ng",), asked=ASKED.get(name, ""),
                plain=lambda text: outcome(text, operations),
                # All that is interesting is in the children.
                options=(("--children",),),
                # What is compared is the same for all.
                bad=("status", "hang") if name == "brk" else ())


def stressors():
    return [stressor(name, int(operations)) for name, operations in (s.split("=") for s in STRESSORS)]
