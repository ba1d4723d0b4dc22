"""Requests that take too long, and how each was left: told on standard output, with the time that it had run for."""

import ctypes
import os
import socket
import threading
import time

from wsgi_gateway import RequestTimeout

TEXT = [("Content-Type", "text/plain")]
LIBC = ctypes.CDLL(None)


def sleeps(environ):
    time.sleep(60)


def spins(environ):
    while True: pass


def deadlocks(environ):
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def waits_for_a_socket(environ):
    ours, _theirs = socket.socketpair()
    ours.recv(1)


def reads(environ):
    environ["wsgi.input"].read()


def keeps_the_lock_of_c(environ):
    mutex = ctypes.create_string_buffer(64)
    LIBC.pthread_mutex_lock(mutex)
    LIBC.pthread_mutex_lock(mutex)


def goes_on(environ):
    while True:
        try:
            time.sleep(60)
        except BaseException as error:
            told(environ, error)


def cleans_up(environ):
    try:
        time.sleep(60)
    except RequestTimeout:
        print("cleaned up", flush=True)
        raise


class Hard:
    """Its close() takes too long."""

    def __iter__(self):
        return iter([b"one", b"two"])

    def close(self):
        try:
            time.sleep(60)
        finally:
            print("close() was left", flush=True)


class Streams:
    """A generator in a class, with a close()."""

    def __iter__(self):
        try:
            yield b"one"
            time.sleep(60)
            yield b"two"
        finally:
            print("the generator was left", flush=True)

    def close(self):
        print("close() was called", flush=True)


def told(environ, error):
    name = threading.current_thread() is threading.main_thread() and "main" or "other"
    print(f"{environ['PATH_INFO']} left on {name}: {type(error).__module__}.{type(error).__qualname__}", flush=True)


def edge(environ):
    """Ends about when its time is over; what is meant for it must not come to the request behind it."""
    until = time.monotonic() + float(environ["QUERY_STRING"])
    while time.monotonic() < until:
        time.sleep(0.001)


def fast():
    begun = time.monotonic()
    try:
        for _ in range(2000):
            os.getpid()
    except RequestTimeout:
        if time.monotonic() - begun < 0.02:
            print("astray", flush=True)
        raise


def application(environ, start_response):
    path = environ["PATH_INFO"][1:]
    if path == "fast":
        fast()
    elif path in ("hard", "streams"):
        start_response("200 OK", TEXT)
        return Hard() if path == "hard" else Streams()
    elif path:
        try:
            globals()[path](environ)
        except BaseException as error:
            if path != "edge":
                told(environ, error)
            raise
    start_response("200 OK", TEXT)
    return [b"%d" % os.getpid()]
