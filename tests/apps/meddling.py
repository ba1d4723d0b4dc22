"""Closes and shuts down descriptors that are the gateway's, as code does that makes itself a daemon or tidies up.

With TEST_MEDDLE as its import, else as the path says; any other path is answered with the numbers that its request found.
"""

import os
import socket
import stat
import threading

print("imported", flush=True)


def sockets(kind, listening):
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        try:
            if not stat.S_ISSOCK(os.fstat(number).st_mode):
                continue
        except OSError:
            continue
        with socket.socket(fileno=os.dup(number)) as copy:
            if copy.type == kind and copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == listening:
                yield number


def listeners():
    return list(sockets(socket.SOCK_STREAM, 1))


def shut_down(how):
    for number in listeners():
        with socket.socket(fileno=os.dup(number)) as copy:
            copy.shutdown(how)


def replace():
    """Files in the sockets' places."""
    for number in listeners():
        file = os.open("/dev/null", os.O_RDONLY)
        os.dup2(file, number)
        os.close(file)


def close_all(numbers):
    for number in numbers:
        try:
            os.close(number)
        except OSError:
            pass


def babble():
    """Writes to standard output and error as fast as it can, open or not."""
    while True:
        for number in (1, 2):
            try:
                os.write(number, b"babble\n")
            except OSError:
                pass


def meddle(word):
    if word == "close":
        close_all(listeners())
    elif word == "shut":
        shut_down(socket.SHUT_RDWR)
    elif word == "shut-reading":
        shut_down(socket.SHUT_RD)
    elif word == "replace":
        replace()
    elif word == "standard":
        close_all(range(3))
    elif word == "channels":
        close_all(sockets(socket.SOCK_SEQPACKET, 0))
    elif word == "all":
        close_all(range(3, 256))
    elif word == "babble":
        threading.Thread(target=babble, daemon=True).start()


def describe():
    numbers = []
    for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):
        try:
            numbers.append(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
        except OSError:
            pass
    return "\n".join(numbers)


meddle(os.environ.get("TEST_MEDDLE", ""))


def application(environ, start_response):
    word = environ["PATH_INFO"].strip("/")
    meddle(word)
    body = (describe() if word == "describe" else str(os.getpid())).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
