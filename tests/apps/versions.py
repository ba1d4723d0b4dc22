"""What an application does most, in the syntax of every Python that the gateway is for."""

import sys
import tempfile


def application(environ, start_response):
    return PATHS[environ["PATH_INFO"]](environ, start_response)


def start(start_response, status="200 OK", exc_info=None):
    return start_response(status, [("Content-Type", "text/plain")], exc_info)


def hello(environ, start_response):
    start(start_response)
    return [("%d.%d" % sys.version_info[:2]).encode()]


def body(environ, start_response):
    start(start_response)
    given = environ["wsgi.input"]
    return [given.readline(), b"|", given.read()]


def generator(environ, start_response):
    start(start_response)
    for number in range(3):
        yield b"%d " % number


def file(environ, start_response):
    content = tempfile.TemporaryFile()
    content.write(b"skipped" + b"x" * 100_000)
    content.seek(len(b"skipped"))
    start(start_response)
    return environ["wsgi.file_wrapper"](content)


def replaced(environ, start_response):
    start(start_response)
    try:
        raise ValueError("the word that only the log has")
    except ValueError:
        start(start_response, "503 Later", sys.exc_info())
    return [b"instead"]


def late(environ, start_response):
    start(start_response)
    yield b"begun"
    try:
        raise ValueError("it was too late")
    except ValueError:
        start(start_response, "503 Later", sys.exc_info())


def raises(environ, start_response):
    raise ValueError("the word that only the log has")


PATHS = {
    "/hello": hello,
    "/body": body,
    "/generator": generator,
    "/file": file,
    "/replaced": replaced,
    "/late": late,
    "/raises": raises,
}
