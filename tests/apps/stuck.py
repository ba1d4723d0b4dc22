"""Requests that do not come back: each in a function of its own, on the line that its comment names."""

import ctypes
import itertools
import os
import signal
import threading
import time

TEXT = [("Content-Type", "text/plain")]


def sleeps():
    time.sleep(60)  # stuck: sleeps


def spins():
    while True: pass  # stuck: spins


def deadlocks():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()  # stuck: deadlocks


def keeps_the_lock_of_python():
    sum(itertools.repeat(0))  # stuck: keeps_the_lock_of_python


def sleeps_in_c():
    sleep = ctypes.PyDLL(None).sleep
    while True:
        sleep(60)  # stuck: sleeps_in_c


def is_slow():
    time.sleep(1)  # stuck: is_slow


def stops():
    os.kill(os.getpid(), signal.SIGSTOP)


def naps():
    time.sleep(0.7)


def waits(fifo):
    with open(fifo, "rb") as file:
        file.read()


def streams(path):
    yield b"one"
    if path == "/stops_after_its_head":
        sleeps()
    yield b"two"


STUCK = {
    f"/{way.__name__}": way
    for way in (sleeps, spins, deadlocks, keeps_the_lock_of_python, sleeps_in_c, is_slow, stops, naps)
}


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path in STUCK:
        STUCK[path]()
    if path.startswith("/waits"):
        waits(environ["QUERY_STRING"])
    if path == "/waits_and_reports":
        environ["wsgi.errors"].write("late\n" * 10_000)
    if path == "/stops_after_an_error_report":
        environ["wsgi.errors"].write("early\n" * 10_000)
        sleeps()
    if path in ("/waits_and_streams", "/stops_after_its_head"):
        start_response("200 OK", TEXT)
        return streams(path)
    start_response("200 OK", TEXT)
    return [b"%d" % os.getpid()]
