"""An application in which foreign code runs: it digs out what the gateway has for itself and writes to it.

The path says what it does. TEST_HOSTILE names a file with what is written while this is imported.
"""

import array
import ctypes
import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs

TEXT = [("Content-Type", "text/plain")]
LIST = """
import os, socket
count = 0
for name in os.listdir("/proc/self/fd"):
    try:
        found = socket.socket(fileno=os.dup(int(name)))
        count += found.type == socket.SOCK_SEQPACKET or bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        pass
"""


def sockets():
    """Those on which processes of the gateway talk: with the master, and with each other."""
    channels, handoff = [], []
    for name in os.listdir("/proc/self/fd"):
        try:
            found = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        if found.type == socket.SOCK_SEQPACKET:
            blocks = not fcntl.fcntl(found.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK
            (channels if blocks else handoff).append(found)
    return channels, handoff


def send(raw, fds=0):
    channel = sockets()[0][0]
    rights = array.array("i", [0] * fds)
    channel.sendmsg([raw], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else [])


def say(query):
    """Writes these messages to the master."""
    for message in query["hex"]:
        send(bytes.fromhex(message), int(query.get("fds", ["0"])[0]))
    return "said"


def say_late(query):
    """The same when it is told to."""
    with open(query["fifo"][0], "rb") as fifo:
        fifo.read()
    return say(query)


def flood(query):
    """Writes lines for the log, as fast as they are taken."""

    def run():
        channel = sockets()[0][0]
        while True:
            channel.send(b"\x05\x03flood")

    threading.Thread(target=run, daemon=True).start()
    return "begun"


def pass_on(query):
    """Writes all sorts of things to the other workers."""
    for channel in sockets()[1]:
        for raw in [b"\xff", b"\x02", b"", b"x" * 1000]:
            for fds in [[], [0], [0] * 100]:
                try:
                    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
                    channel.sendmsg([raw], rights if fds else [])
                except OSError:
                    pass
    return "passed"


def pipes(query):
    """Writes signals to pipes that somebody may obey."""
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if fd > 2 and stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.write(fd, b"\x0f\x02\x01")
        except OSError:
            pass
    return "written"


def scribble(query):
    """Fills the memory that is shared with the master."""
    count = 0
    for line in open("/proc/self/maps"):
        where, rights = line.split()[:2]
        if rights == "rw-s":
            begin, end = (int(side, 16) for side in where.split("-"))
            ctypes.memset(begin, int(query["byte"][0]), end - begin)
            count += 1
    return f"{count}"


def fork(query):
    """How many sockets of the gateway a child has."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            found = {}
            exec(LIST, found)
            os.write(writer, str(found["count"]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    answer = os.read(reader, 100).decode()
    os.close(reader)
    os.wait()
    return answer


def execute(query):
    """How many a program has."""
    command = [sys.executable or "python3", "-c", LIST + "print(count)"]
    return subprocess.run(command, close_fds=False, stdout=subprocess.PIPE, check=True).stdout.decode().strip()


if os.environ.get("TEST_HOSTILE") and os.path.exists(os.environ["TEST_HOSTILE"]):
    for line in open(os.environ["TEST_HOSTILE"]):
        send(bytes.fromhex(line.strip()))
    time.sleep(float(os.environ.get("TEST_HOSTILE_SLEEP", "60")))


def application(environ, start_response):
    what = {
        "/say": say,
        "/late": say_late,
        "/flood": flood,
        "/handoff": pass_on,
        "/pipes": pipes,
        "/scribble": scribble,
        "/forked": fork,
        "/executed": execute,
    }.get(environ["PATH_INFO"], lambda query: str(os.getpid()))
    body = what(parse_qs(environ["QUERY_STRING"], keep_blank_values=True)).encode()
    start_response("200 OK", TEXT)
    return [body]
