"""Says things as programs do: by Python's logging, by print, by a traceback, by its death."""

import logging
import os
import signal
import sys
import threading
import warnings

logging.basicConfig(level=logging.DEBUG, format=os.environ.get("TEST_FORMAT", logging.BASIC_FORMAT))
logger = logging.getLogger("shop")


def fails():
    raise ValueError("on purpose")


def logs(environ):
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(logger, level)("a word of %s", level)
    print("said by print", flush=True)
    print("said on stderr", file=sys.stderr, flush=True)
    environ["wsgi.errors"].write("WARNING:shop:by wsgi.errors\n")


def raises(environ):
    try:
        fails()
    except ValueError:
        logger.exception("it failed")
    thread = threading.Thread(target=fails, name="helper")
    thread.start()
    thread.join()
    warnings.warn("old")
    print("behind it", flush=True)


def dies(environ):
    os.kill(os.getpid(), signal.SIGSEGV)


def application(environ, start_response):
    path = environ["PATH_INFO"][1:]
    if path == "breaks":
        fails()
    if path:
        globals()[path](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"said"]
