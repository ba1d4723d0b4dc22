"""Applications that fail, each in its own way, and one that does not (`/fine`)."""

import sys

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]


class Odd(BaseException):
    """Not an Exception, so `except Exception` does not see it."""


def fine(environ, start_response):
    start_response("200 OK", TEXT[:])
    return [b"fine"]


def at_once(environ, start_response):
    raise RuntimeError("the word that only the log may say")


def after_start(environ, start_response):
    start_response("200 OK", TEXT[:])
    raise RuntimeError("the word that only the log may say")


def in_the_first_step(environ, start_response):
    start_response("200 OK", TEXT[:])
    raise RuntimeError("the word that only the log may say")
    yield b""


def in_the_middle(environ, start_response):
    start_response("200 OK", TEXT[:])
    yield b"half"
    raise RuntimeError("the word that only the log may say")


def in_the_middle_with_length(environ, start_response):
    start_response("200 OK", TEXT + [("Content-Length", "8")])
    yield b"half"
    raise RuntimeError("the word that only the log may say")


def after_write(environ, start_response):
    start_response("200 OK", TEXT[:])(b"half")
    raise RuntimeError("the word that only the log may say")


def after_the_last_block(environ, start_response):
    """Everything that Content-Length promised is out when it fails."""
    start_response("200 OK", TEXT + [("Content-Length", "5")])
    yield b"whole"
    raise RuntimeError("the word that only the log may say")


def in_iter(environ, start_response):
    class NoIterator:
        def __iter__(self):
            raise RuntimeError("the word that only the log may say")

    start_response("200 OK", TEXT[:])
    return NoIterator()


def exits(environ, start_response):
    sys.exit("the word that only the log may say")


def exits_with_zero(environ, start_response):
    sys.exit(0)


def exits_in_the_middle(environ, start_response):
    start_response("200 OK", TEXT[:])
    yield b"half"
    sys.exit(0)


def interrupts(environ, start_response):
    raise KeyboardInterrupt


def odd(environ, start_response):
    raise Odd("the word that only the log may say")


def recursion(environ, start_response):
    return recursion(environ, start_response)


def returns_none(environ, start_response):
    start_response("200 OK", TEXT[:])


def returns_a_number(environ, start_response):
    start_response("200 OK", TEXT[:])
    return 42


def returns_str(environ, start_response):
    start_response("200 OK", TEXT[:])
    return "text"


def str_block(environ, start_response):
    start_response("200 OK", TEXT[:])
    return ["text"]


def str_block_in_a_generator(environ, start_response):
    start_response("200 OK", TEXT[:])
    yield "text"


def second_block_is_str(environ, start_response):
    """In a list nothing has been sent when the wrong block is met, or the first has: both are in order."""
    start_response("200 OK", TEXT[:])
    return [b"half", "text"]


def number_block(environ, start_response):
    start_response("200 OK", TEXT[:])
    return [b"half", 42][1:]


def none_block(environ, start_response):
    start_response("200 OK", TEXT[:])
    return [None]


def message_not_latin1(environ, start_response):
    raise RuntimeError("\u20ac and a lone surrogate \udcff")


application = by_name(globals())
