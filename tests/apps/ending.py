"""What happens around the end of a one-request process. The query names a folder with a FIFO `go`; marks are left there."""

import atexit
import os
import signal
import subprocess

from by_name import by_name

TEXT = [("Content-Type", "text/plain"), ("Content-Length", "5")]


def _mark(folder, name):
    with open(os.path.join(folder, name), "a") as mark:
        mark.write("here\n")


def _wait(folder):
    with open(os.path.join(folder, "go"), "rb", buffering=0) as fifo:
        fifo.read(1)


def blocks_at_exit(environ, start_response):
    """The web server waits for the end of stdout, so it must not wait for this."""
    folder = environ["QUERY_STRING"]

    def at_exit():
        _wait(folder)
        _mark(folder, "exited")

    atexit.register(at_exit)
    start_response("200 OK", TEXT[:])
    return [b"whole"]


class SlowClose:
    def __init__(self, folder):
        self.folder = folder

    def __iter__(self):
        return iter([b"who", b"le"])

    def close(self):
        _wait(self.folder)
        _mark(self.folder, "closed")


def slow_close(environ, start_response):
    start_response("200 OK", TEXT[:])
    return SlowClose(environ["QUERY_STRING"])


class SlowList(list):
    def close(self):
        _wait(self.folder)
        _mark(self.folder, "closed")


def slow_close_of_a_list(environ, start_response):
    start_response("200 OK", TEXT[:])
    blocks = SlowList([b"who", b"le"])
    blocks.folder = environ["QUERY_STRING"]
    return blocks


def leaves_a_child(environ, start_response):
    """A child that outlives the request and inherits what is inheritable: it must not hold the response open."""
    child = subprocess.Popen(
        ["/bin/sleep", "600"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
    )
    _mark(environ["QUERY_STRING"], f"child-{child.pid}")
    start_response("200 OK", TEXT[:])
    return [b"whole"]


def handlers(environ, start_response):
    """SIGPIPE is ignored, so that a client that leaves is an error to be handled and not the end of the process."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    ignored = signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    return [f"SIGPIPE ignored: {ignored}".encode()]


application = by_name(globals())
