"""Tells which process answers, whether it is to answer once, and all of its own environment."""

import os


def application(environ, start_response):
    lines = [f"{os.getpid()} {environ['wsgi.run_once']}"]
    lines += sorted(f"{name}={value}" for name, value in os.environ.items())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return ["\n".join(lines).encode()]
