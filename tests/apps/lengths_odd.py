"""Content-Length against what is sent, in every way to send; files whose size is not what they hold."""

import os
import threading

from by_name import by_name


def _head(length=None):
    head = [("Content-Type", "text/plain")]
    return head if length is None else head + [("Content-Length", str(length))]


def _writes(length, *blocks, then=()):
    def application(environ, start_response):
        write = start_response("200 OK", _head(length))
        for block in blocks:
            write(block)
        return list(then)

    return application


write_exact = _writes(6, b"abc", b"def")
write_longer = _writes(4, b"abc", b"def", b"ghi", b"jkl")
write_longer_at_once = _writes(4, b"abcdefghi")
write_behind_the_end = _writes(3, b"abc", b"def")
write_of_none = _writes(0, b"abc")
write_and_list_longer = _writes(4, b"abc", then=[b"def", b"ghi"])
write_and_list_behind = _writes(3, b"abc", then=[b"def"])
write_shorter = _writes(9, b"abc", b"def")
write_and_list_shorter = _writes(9, b"abc", then=[b"def"])


def write_in_generator(environ, start_response):
    write = start_response("200 OK", _head(4))
    yield b"abc"
    write(b"def")


class Iterable:
    """Has no more than an __iter__ and a close()."""

    def __init__(self, *blocks):
        self.blocks = blocks

    def __iter__(self):
        return iter(self.blocks)

    def close(self):
        pass


def _returns(length, body):
    def application(environ, start_response):
        start_response("200 OK", _head(length))
        return body

    return application


list_short = _returns(10, [b"abc"])
list_empty = _returns(10, [])
list_of_empty = _returns(10, [b"", b""])
tuple_short = _returns(10, (b"abc", b"def"))
tuple_empty = _returns(10, ())
list_one_less = _returns(10, [b"123456789"])
list_large_short = _returns(800_001, [b"0123456789abcdef" * 100] * 500)
list_one_large_short = _returns(1_000_001, [b"0123456789" * 100_000])
tuple_large_short = _returns(800_001, (b"0123456789abcdef" * 100,) * 500)
iterable_empty = _returns(10, Iterable())
iterable_of_empty = _returns(10, Iterable(b"", b""))
iterable_short = _returns(10, Iterable(b"abc"))
exact = _returns(3, [b"abc"])


def generator_empty(environ, start_response):
    start_response("200 OK", _head(10))
    return iter(())


def file_empty(environ, start_response):
    start_response("200 OK", _head(10))
    return environ["wsgi.file_wrapper"](open(os.devnull, "rb"))


def no_content(environ, start_response):
    start_response("304 Not Modified", [("Content-Length", "10")])
    return []


def _waits(answer):
    """A thread waits for a body that does not come while the response is sent."""

    def application(environ, start_response):
        source = environ["wsgi.input"]
        begun = threading.Event()

        def read():
            begun.set()
            try:
                source.read()
            except (OSError, ValueError):
                pass

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        begun.wait()
        # Whether the thread is in the read already cannot be known; another read shows that it may be.
        source.read(0)
        return answer(environ, start_response)

    return application


def _generates(environ, start_response):
    start_response("200 OK", _head())
    for _ in range(20):
        yield b"block,"


waits_with_list = _waits(exact)
waits_with_generator = _waits(_generates)
waits_with_write = _waits(write_exact)


def waits_with_errors(environ, start_response):
    print("said meanwhile", file=environ["wsgi.errors"])
    return _waits(exact)(environ, start_response)


def waits_with_file(environ, start_response):
    def answer(environ, start_response):
        start_response("200 OK", _head())
        return environ["wsgi.file_wrapper"](open(__file__, "rb"))

    return _waits(answer)(environ, start_response)


# ---- files; the query names one


def file(environ, start_response):
    start_response("200 OK", _head())
    return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"))


def file_unbuffered(environ, start_response):
    start_response("200 OK", _head())
    return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb", buffering=0))


def file_with_size(environ, start_response):
    opened = open(environ["QUERY_STRING"], "rb")
    start_response("200 OK", _head(os.fstat(opened.fileno()).st_size))
    return environ["wsgi.file_wrapper"](opened)


def _changes(size, with_length):
    """The file changes after its size was asked for."""

    def application(environ, start_response):
        opened = open(environ["QUERY_STRING"], "r+b")
        length = os.fstat(opened.fileno()).st_size if with_length else None
        start_response("200 OK", _head(length))
        wrapped = environ["wsgi.file_wrapper"](opened)
        os.truncate(environ["QUERY_STRING"], size)
        return wrapped

    return application


grows = _changes(200_000, False)
grows_with_size = _changes(200_000, True)
shrinks = _changes(70_000, False)
shrinks_with_size = _changes(70_000, True)
vanishes = _changes(0, False)
vanishes_with_size = _changes(0, True)


def beyond_the_end(environ, start_response):
    opened = open(environ["QUERY_STRING"], "rb")
    opened.seek(10_000_000)
    start_response("200 OK", _head())
    return environ["wsgi.file_wrapper"](opened)


application = by_name(globals())
