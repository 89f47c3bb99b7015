# SPDX-License-Identifier: BSD-3-Clause
"""What a large Python program does with memory, processes, threads and signals. Prints the same every time."""

import asyncio
import ctypes
import faulthandler
import hashlib
import mmap
import multiprocessing as mp
import os
import signal
import subprocess
import sys
import threading
from multiprocessing import shared_memory


def digest(n):
    data = bytearray(n * 1000 + 1)
    data[n] = n % 256
    return hashlib.sha256(data).hexdigest()[:8]


def fill(name, n):
    memory = shared_memory.SharedMemory(name)
    memory.buf[n] = n + 1
    memory.close()


def pools():
    for method in ("fork", "spawn", "forkserver"):
        context = mp.get_context(method)
        with context.Pool(3) as pool:
            print(method, pool.map(digest, range(40)))
    memory = shared_memory.SharedMemory(create=True, size=65536)
    children = [mp.Process(target=fill, args=(memory.name, i)) for i in range(5)]
    for c in children:
        c.start()
    for c in children:
        c.join()
    print("shared", bytes(memory.buf[:6]), [c.exitcode for c in children])
    memory.close()
    memory.unlink()


def threads():
    sums = [0] * 16

    def run(i):
        for n in range(100):
            m = mmap.mmap(-1, 40960)
            m[n] = i
            sums[i] += m[n]
            if n % 2:
                m.resize(8192)
            m.close()

    all_of_them = [threading.Thread(target=run, args=(i,)) for i in range(16)]
    for t in all_of_them:
        t.start()
    for t in all_of_them:
        t.join()
    print("threads", sums)


def files():
    path = "mapped"
    with open(path, "w+b") as f:
        f.write(bytes(range(256)) * 256)
        f.flush()
        m = mmap.mmap(f.fileno(), 0)
        m.move(100, 50, 1000)
        print("moved", hashlib.sha256(m).hexdigest())
        m.resize(1000)
        print("resized", len(m), os.path.getsize(path))
        m.madvise(mmap.MADV_DONTNEED)
        m.close()
    with open(path, "wb"):
        pass
    print("truncated", os.path.getsize(path))


def signals():
    came = 0

    def count(sig, frame):
        nonlocal came
        came += 1

    signal.signal(signal.SIGALRM, count)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    total = 0
    while came < 100:
        total += len(bytearray(300000))
        subprocess.run(["true"], check=True)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("alarms", total > 0)
    print("blocked", signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]))
    os.kill(os.getpid(), signal.SIGUSR1)
    print("pending", signal.sigpending(), signal.sigwait([signal.SIGUSR1]))


def processes():
    print(subprocess.run("seq 1000 | sort -r | head -3; exit 3", shell=True, capture_output=True))
    print(subprocess.run([sys.executable, "-c", "import os; os.abort()"], stderr=subprocess.DEVNULL).returncode)
    pid = os.fork()
    if not pid:
        os.closerange(3, 1000)
        os._exit(5)
    print("fork", os.waitpid(pid, 0)[1])
    print("spawn", os.waitpid(os.posix_spawn("/bin/sh", ["sh", "-c", "exit 6"], os.environ), 0)[1])

    async def several():
        made = [await asyncio.create_subprocess_exec("sh", "-c", f"exit {i}") for i in range(5)]
        return [await p.wait() for p in made]

    print("asyncio", asyncio.run(several()))
    crash = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", "import ctypes; ctypes.string_at(0)"], capture_output=True)
    print("crash", crash.returncode, b"Segmentation fault" in crash.stderr)


def main():
    faulthandler.enable()
    ctypes.CDLL(None).malloc_trim(0)
    pools()
    threads()
    files()
    signals()
    processes()


if __name__ == "__main__":
    main()
