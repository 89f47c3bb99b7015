# SPDX-License-Identifier: BSD-3-Clause
"""A Redis server, used as one: load, a dataset that is always the same, copies of it by forked children."""

import os
import socket
import subprocess

from case import LIMIT_S, Case

COMMAND = ["redis-server", "--port", "0", "--save", "", "--supervised", "systemd", "--enable-debug-command", "yes",
           "--io-threads", "2", "--repl-diskless-sync-delay", "0", "--unixsocket", "socket"]
DATA = "".join(f"SET key{i} {i * i}\nLPUSH list{i % 50} {i}\nHSET hash{i % 20} f{i} {'v' * (i % 300)}\n"
               f"ZADD z{i % 7} {i} m{i}\nDEL key{i // 3}\n" for i in range(4000))


class Ready:
    """Where a server says that it is ready, as it says it to systemd."""

    def __init__(self):
        self.socket = None

    def open(self, folder):
        self.close()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"{folder}/notify")
        self.socket.settimeout(LIMIT_S)

    def wait(self):
        while b"READY=1" not in self.socket.recv(4096):
            pass

    def close(self):
        if self.socket:
            self.socket.close()


ready = Ready()


def client(folder, tool, *arguments, text=None, check=True):
    return subprocess.run([tool, "-s", "socket", *arguments], cwd=folder, input=text, capture_output=True, text=True,
                          timeout=LIMIT_S * 2, check=check).stdout


def use(folder):
    """Returns the digests of its data at several points."""
    ready.wait()
    client(folder, "redis-benchmark", "-n", "20000", "-q", "-t", "set,get,lpush,rpop,sadd,hset,zadd,mset", "-r", "1000",
           "-P", "16")
    client(folder, "redis-cli", "FLUSHALL")
    client(folder, "redis-cli", text=DATA)
    said = [client(folder, "redis-cli", "DEBUG", "DIGEST")]
    client(folder, "redis-cli", "--rdb", "copy.rdb")
    said.append(client(folder, "redis-cli", "DEBUG", "RELOAD"))
    said.append(client(folder, "redis-cli", "MEMORY", "PURGE"))
    said.append(client(folder, "redis-cli", "DEBUG", "DIGEST"))
    client(folder, "redis-cli", "SHUTDOWN", "NOSAVE", check=False)
    return said + [digest_of_copy(folder)]


def digest_of_copy(folder):
    """The copy was made by a child: another server, which nobody watches, says what is in it."""
    env = dict(os.environ, NOTIFY_SOCKET=f"{folder}/notify")
    with subprocess.Popen([*COMMAND, "--dbfilename", "copy.rdb"], cwd=folder, env=env, stdout=subprocess.DEVNULL) as p:
        ready.wait()
        digest = client(folder, "redis-cli", "DEBUG", "DIGEST")
        p.terminate()
        p.wait(LIMIT_S)
    return digest


def servers():
    # What it prints has times and numbers of processes in it.
    return [Case("redis", COMMAND, needs=("redis-server", "redis-cli", "redis-benchmark"), plain=lambda text: b"",
                 env={"NOTIFY_SOCKET": "FOLDER/notify"}, prepare=ready.open, drive=use, bad=("status",))]
