"""What an application may return: every kind of iterable, and blocks of every size."""

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]


def a_list(environ, start_response):
    start_response("200 OK", TEXT[:])
    return [b"one,", b"two,", b"three"]


def a_tuple(environ, start_response):
    start_response("200 OK", TEXT[:])
    return (b"one,", b"two,", b"three")


def an_iterator(environ, start_response):
    start_response("200 OK", TEXT[:])
    return iter([b"one,", b"two,", b"three"])


def a_map(environ, start_response):
    start_response("200 OK", TEXT[:])
    return map(str.encode, ["one,", "two,", "three"])


def keys(environ, start_response):
    start_response("200 OK", TEXT[:])
    return {b"one,": 1, b"two,": 2, b"three": 3}


class Sequence:
    """Iterable by the oldest protocol of all: `__getitem__` and IndexError."""

    def __getitem__(self, index):
        return [b"one,", b"two,", b"three"][index]


def a_sequence(environ, start_response):
    start_response("200 OK", TEXT[:])
    return Sequence()


def bytearray_itself(environ, start_response):
    start_response("200 OK", TEXT[:])
    return bytearray(b"body")


def memoryview_itself(environ, start_response):
    start_response("200 OK", TEXT[:])
    return memoryview(b"body")


def str_itself(environ, start_response):
    start_response("200 OK", TEXT[:])
    return "body"


def kind_of_str_itself(environ, start_response):
    start_response("200 OK", TEXT[:])
    return type("Markup", (str,), {})("body")


def dict_itself(environ, start_response):
    start_response("200 OK", TEXT[:])
    return {"body": 1}


def bytes_itself(environ, start_response):
    """A bytes object is an iterable of int: the mistake that everybody makes once."""
    start_response("200 OK", TEXT[:])
    return b"one"


def empty_list(environ, start_response):
    start_response("200 OK", TEXT[:])
    return []


def empty_block(environ, start_response):
    start_response("200 OK", TEXT[:])
    return [b""]


def empty_generator(environ, start_response):
    start_response("200 OK", TEXT[:])
    return
    yield b""


def empty_blocks_between(environ, start_response):
    start_response("200 OK", TEXT[:])
    yield b""
    yield b"one,"
    yield b""
    yield b"two,"
    yield b"three"
    yield b""


def no_headers(environ, start_response):
    start_response("200 OK", [])
    return [b"one,two,three"]


def every_byte(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [bytes(range(256))]


def pattern(size):
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


def large_list(environ, start_response):
    """More than one FastCGI record and more than one pipe buffer, in one block."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [pattern(1_000_000)]


def large_blocks(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    whole = pattern(1_000_000)
    for start in range(0, len(whole), 70_001):
        yield whole[start : start + 70_001]


def many_blocks_in_a_list(environ, start_response):
    """More blocks than one writev takes (IOV_MAX is 1024)."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d," % number for number in range(5000)]


application = by_name(globals())
