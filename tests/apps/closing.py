"""Iterables with a close() that leaves a mark in the file which the query names: one line a call."""

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]


class Blocks:
    """Its iterator is another object: PEP 3333 wants close() of what the application returned."""

    def __init__(self, environ, blocks):
        self.mark = environ["QUERY_STRING"]
        self.blocks = blocks

    def __iter__(self):
        for block in self.blocks:
            if isinstance(block, BaseException):
                raise block
            yield block

    def close(self):
        with open(self.mark, "a") as mark:
            mark.write("closed\n")


def whole(environ, start_response):
    start_response("200 OK", TEXT[:])
    return Blocks(environ, [b"one,", b"two"])


def nothing(environ, start_response):
    start_response("200 OK", TEXT[:])
    return Blocks(environ, [])


def error_at_once(environ, start_response):
    start_response("200 OK", TEXT[:])
    return Blocks(environ, [RuntimeError("before the first block")])


def error_in_the_middle(environ, start_response):
    start_response("200 OK", TEXT[:])
    return Blocks(environ, [b"one,", RuntimeError("after the first block")])


def a_str_in_the_middle(environ, start_response):
    start_response("200 OK", TEXT[:])
    return Blocks(environ, [b"one,", "two"])


def never_started(environ, start_response):
    return Blocks(environ, [b"one,", b"two"])


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return Blocks(environ, [b"a body that may not be sent"])


def too_long(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "4")])
    return Blocks(environ, [b"one,", b"two"])


class ClosingList(list):
    mark = None

    def close(self):
        with open(self.mark, "a") as mark:
            mark.write("closed\n")


def a_list(environ, start_response):
    start_response("200 OK", TEXT[:])
    blocks = ClosingList([b"one,", b"two"])
    blocks.mark = environ["QUERY_STRING"]
    return blocks


def a_generator(environ, start_response):
    start_response("200 OK", TEXT[:])
    try:
        yield b"one,"
        yield b"two"
    finally:
        Blocks(environ, []).close()


def endless(environ, start_response):
    """For a client that leaves: only close() ends it."""
    start_response("200 OK", TEXT[:])

    def blocks():
        while True:
            yield b"x" * 8192

    return Blocks(environ, blocks())


def endless_write(environ, start_response):
    write = start_response("200 OK", TEXT[:])
    try:
        while True:
            write(b"x" * 8192)
    finally:
        Blocks(environ, []).close()


class Failing(Blocks):
    def close(self):
        super().close()
        raise RuntimeError("close() itself failed")


def failing_close(environ, start_response):
    start_response("200 OK", TEXT[:])
    return Failing(environ, [b"one,", b"two"])


def middleware(environ, start_response):
    """A generator around an iterable: the inner close() runs because the gateway closes the outer one."""
    inner = whole(environ, start_response)

    def outer():
        try:
            for block in inner:
                yield block.upper()
        finally:
            inner.close()

    return outer()


application = by_name(globals())
