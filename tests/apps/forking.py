"""Forks in a request: the path says what the child does, the query names the folder in which its id is left."""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from urllib.parse import parse_qs

TEXT = [("Content-Type", "text/plain")]


def fork(folder):
    """As os.fork(); the test finds the child by a file that is named after it."""
    child = os.fork()
    if child:
        note(folder, child)
    return child


def note(folder, child):
    open(os.path.join(folder, str(child)), "w").close()


def end_of(child):
    """How the child ended: minus the signal, or "by itself", since nobody reads a code here, or "never"."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return str(-os.WTERMSIG(status)) if os.WIFSIGNALED(status) else "by itself"
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "never"


def live_on():
    # The test reads the gateway's standard error to its end, which is no child's to put off.
    os.dup2(os.open("/dev/null", os.O_WRONLY), 2)
    while True:
        signal.pause()


def signalled(query, errors):
    """Signals to children, as soon as there are children."""
    ends = set()
    for _ in range(20):
        child = fork(query["folder"][0])
        if child == 0:
            live_on()
        os.kill(child, signal.Signals[query["signal"][0]])
        ends.add(end_of(child))
    return " ".join(sorted(ends))


def fork_in_c(query, errors):
    """Several threads fork at a time, as C code does it: without Python's lock."""
    libc = ctypes.CDLL(None)

    def run():
        for _ in range(100):
            child = libc.fork()
            if child == 0:
                os._exit(0)
            # It may wait for a lock that a thread had which it has not.
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors.write("all have forked\n")
    return "forked"


def multiprocessed(query, errors):
    """What multiprocessing does with its children: Process.terminate(), and SIGTERM at the end of a pool."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=live_on)
    child.start()
    note(query["folder"][0], child.pid)
    child.terminate()
    child.join(10)
    code = child.exitcode
    child.kill()
    with context.Pool(1) as pool:
        for worker in multiprocessing.active_children():
            note(query["folder"][0], worker.pid)
        answer = pool.map(abs, [-7])
    return f"{code} {answer}"


def reporting(query, errors):
    """A child that writes to wsgi.errors while the request is open, with the parent's own words before and behind."""
    errors.write("parent, before\n")
    child = fork(query["folder"][0])
    if child == 0:
        errors.write("child, small\n")
        errors.flush()
        errors.write("child, large " * 2_000 + "\n")
        errors.flush()
        os._exit(0)
    ended = end_of(child)
    errors.write("parent, behind\n")
    return ended


def reports(query, errors):
    """The log's locks are taken for as much of the time as can be."""
    for _ in range(50):
        errors.write("parent, again and again\n")
    return "reported"


def reporting_later(query, errors):
    """The same child, when the request is over: it waits for the test's word."""
    if fork(query["folder"][0]) == 0:
        with open(query["fifo"][0], "rb") as fifo:
            fifo.read()
        errors.write("child, small\n")
        errors.flush()
        errors.write("child, large " * 2_000 + "\n")
        errors.flush()
        os._exit(0)
    return "parent"


def living(query, errors):
    if fork(query["folder"][0]) == 0:
        live_on()
    return "parent"


def living_apart(query, errors):
    """As programs have always put themselves into the background."""
    if fork(query["folder"][0]) == 0:
        nothing = os.open("/dev/null", os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)
        live_on()
    return "parent"


def parent_id(query, errors):
    return str(os.getpid())


PAGES = {
    "/signalled": signalled,
    "/multiprocessed": multiprocessed,
    "/in-c": fork_in_c,
    "/reporting": reporting,
    "/reports": reports,
    "/reporting-later": reporting_later,
    "/living": living,
    "/living-apart": living_apart,
    "/id": parent_id,
}


def leaving(way, query, environ, start_response):
    """The child leaves the application in one of many ways; the parent says how the child ended."""
    before = None
    if way == "writes":
        before = start_response("200 OK", TEXT)
        before(b"before, ")
    child = fork(query["folder"][0])
    if child == 0:
        if way == "exits":
            sys.exit(0)
        if way == "raises":
            raise RuntimeError("the child fails")
        if way == "interrupts":
            raise KeyboardInterrupt
        if way == "never-starts":
            return [b"child"]
        if way == "writes":
            before(b"child")
            return [b"child"]
        start_response("200 OK", TEXT)
        if way == "returns-a-list":
            return [b"child"]
        if way == "returns-a-large-list":
            return [b"child" * 10_000]
        if way == "returns-a-generator":
            return (b"child" for _ in range(3))
        if way == "returns-a-file":
            return environ["wsgi.file_wrapper"](open(__file__, "rb"))
        if way == "returns-nothing":
            return []
    body = f"parent, child ended {end_of(child)}".encode()
    if before is None:
        start_response("200 OK", TEXT + [("Content-Length", str(len(body)))])
    return [body]


def leaving_in_the_body(query):
    """The fork is between two blocks, of which the child yields its own."""
    yield b"before, "
    child = fork(query["folder"][0])
    if child == 0:
        yield b"child"
        return
    yield f"parent, child ended {end_of(child)}".encode()


def application(environ, start_response):
    query = parse_qs(environ["QUERY_STRING"])
    path = environ["PATH_INFO"]
    if path == "/leaving/in-the-body":
        start_response("200 OK", TEXT)
        return leaving_in_the_body(query)
    if path.startswith("/leaving/"):
        return leaving(path.removeprefix("/leaving/"), query, environ, start_response)
    body = PAGES[path](query, environ["wsgi.errors"]).encode()
    start_response("200 OK", TEXT + [("Content-Length", str(len(body)))])
    return [body]
