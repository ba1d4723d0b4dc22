"""The write() callable that start_response returns."""

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]


def only_write(environ, start_response):
    write = start_response("200 OK", TEXT[:])
    write(b"one,")
    write(b"two,")
    write(b"three")
    return []


def write_then_blocks(environ, start_response):
    """PEP 3333: what write() was given is sent before any block of the iterable."""
    write = start_response("200 OK", TEXT[:])
    write(b"one,")
    return [b"two,", b"three"]


def write_in_the_iteration(environ, start_response):
    write = start_response("200 OK", TEXT[:])
    write(b"one,")
    yield b"two,"
    write(b"three")


def empty_write(environ, start_response):
    write = start_response("200 OK", TEXT[:])
    write(b"")
    write(b"one,two,three")
    return []


def str_to_write(environ, start_response):
    write = start_response("200 OK", TEXT[:])
    write("one,two,three")
    return []


def str_to_write_is_a_type_error(environ, start_response):
    write = start_response("200 OK", TEXT[:])
    try:
        write("text")
    except (TypeError, AssertionError) as error:
        return [type(error).__name__.encode()]
    return [b"accepted"]


def head_request(environ, start_response):
    write = start_response("200 OK", TEXT + [("Content-Length", "13")])
    write(b"one,two,three")
    return []


def longer_than_promised(environ, start_response):
    write = start_response("200 OK", TEXT + [("Content-Length", "4")])
    write(b"one,")
    write(b"two,")
    return [b"three"]


def large(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "application/octet-stream")])
    for _ in range(20):
        write(b"0123456789" * 7000)
    return []


application = by_name(globals())
