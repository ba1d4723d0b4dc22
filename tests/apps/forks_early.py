"""Forks while it is imported: FORKS_EARLY names what the child does, and a folder in which its id is left."""

import os
import sys

what, _, folder = os.environ["FORKS_EARLY"].partition(" ")
if os.fork() == 0:
    open(os.path.join(folder, str(os.getpid())), "w").close()
    if what == "raises":
        raise RuntimeError("the child has failed")
    if what == "exits":
        sys.exit(0)


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
