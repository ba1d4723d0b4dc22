"""Everything that ends up in front of the response of a careless CGI program: prints while the module is imported,
and while a request is served, from Python, from below Python and from a child process."""

import os
import subprocess
import sys

from by_name import by_name

print("printed at import")
os.write(1, b"written at import\n")
TEXT = [("Content-Type", "text/plain")]


def prints(environ, start_response):
    print("printed in the request")
    start_response("200 OK", TEXT[:])
    print("printed after start_response")
    return [b"clean"]


def prints_unflushed(environ, start_response):
    """Left in sys.stdout's buffer until the interpreter ends."""
    sys.stdout.write("never flushed by the application")
    start_response("200 OK", TEXT[:])
    return [b"clean"]


def writes_to_fd_1(environ, start_response):
    os.write(1, b"written in the request\n")
    start_response("200 OK", TEXT[:])
    return [b"clean"]


def child_process(environ, start_response):
    subprocess.run(["/bin/echo", "said by a child"], check=True)
    start_response("200 OK", TEXT[:])
    return [b"clean"]


def prints_in_the_iteration(environ, start_response):
    start_response("200 OK", TEXT[:])
    yield b"cl"
    print("printed between the blocks", flush=True)
    yield b"ean"


def reads_stdin(environ, start_response):
    """The request's body is wsgi.input, and nothing else is on stdin."""
    taken = sys.stdin.buffer.read() + os.read(0, 100)
    start_response("200 OK", TEXT[:])
    return [ascii((taken, environ["wsgi.input"].read())).encode()]


def closes_stdout(environ, start_response):
    sys.stdout.close()
    start_response("200 OK", TEXT[:])
    return [b"clean"]


application = by_name(globals())
