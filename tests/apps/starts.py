"""start_response: once, twice, never, late, and with exc_info before and after the head has left."""

import sys

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]


def twice(environ, start_response):
    start_response("200 OK", TEXT[:])
    start_response("201 Created", TEXT[:])
    return [b"not to be seen"]


def twice_is_an_assertion_error(environ, start_response):
    start_response("200 OK", TEXT[:])
    try:
        start_response("201 Created", TEXT[:])
    except AssertionError:
        return [b"AssertionError"]
    return [b"accepted"]


def never(environ, start_response):
    return [b"a body without a head"]


def never_and_empty(environ, start_response):
    return []


def in_the_first_step(environ, start_response):
    """PEP 3333: start_response may be called from within the first iteration."""

    class Late:
        started = False

        def __iter__(self):
            return self

        def __next__(self):
            if self.started:
                raise StopIteration
            self.started = True
            start_response("200 OK", TEXT[:])
            return b"late"

    return Late()


def after_the_first_block(environ, start_response):
    yield b"too early"
    start_response("200 OK", TEXT[:])


def replaced(environ, start_response):
    """With exc_info and nothing sent yet, the second head takes the place of the first."""
    start_response("200 OK", TEXT + [("X-First", "yes")])
    try:
        raise ValueError("noticed in time")
    except ValueError:
        start_response("503 Replaced", [("Content-Type", "text/html")], sys.exc_info())
    return [b"replaced"]


def replaced_after_an_empty_block(environ, start_response):
    """An empty block does not send the head (PEP 3333: "the first non-empty bytestring")."""
    start_response("200 OK", TEXT + [("X-First", "yes")])
    yield b""
    try:
        raise ValueError("noticed in time")
    except ValueError:
        start_response("503 Replaced", [("Content-Type", "text/html")], sys.exc_info())
    yield b"replaced"


def replaced_by_keyword(environ, start_response):
    """Code in the wild names the argument."""
    start_response("200 OK", TEXT + [("X-First", "yes")])
    try:
        raise ValueError("noticed in time")
    except ValueError:
        start_response("503 Replaced", [("Content-Type", "text/html")], exc_info=sys.exc_info())
    return [b"replaced"]


def first_with_exc_info(environ, start_response):
    try:
        raise ValueError("before any head")
    except ValueError:
        start_response("503 Replaced", [("Content-Type", "text/html")], sys.exc_info())
    return [b"replaced"]


def no_triple(environ, start_response):
    """Each of these is an error that names it; nothing has left before."""
    said = []
    for wrong in (True, 0, "error", [None, None, None], ValueError("itself"), (), (ValueError, ValueError("pair"))):
        try:
            start_response("500 Wrong", TEXT[:], wrong)
        except TypeError as error:
            said.append(str(error))
    start_response("200 OK", TEXT[:])
    return ["\n".join(said).encode()]


def no_triple_too_late(environ, start_response):
    write = start_response("200 OK", TEXT[:])
    write(b"half\n")
    said = []
    for wrong in (True, sys.exc_info(), (ValueError, "old style", None)):
        try:
            start_response("500 Wrong", TEXT[:], wrong)
        except (AssertionError, TypeError) as error:
            said.append(f"{type(error).__name__}: {error}")
    return ["\n".join(said).encode()]


def none_as_exc_info(environ, start_response):
    start_response("200 OK", TEXT[:], None)
    return [b"none"]


def none_the_second_time(environ, start_response):
    start_response("200 OK", TEXT[:])
    start_response("201 Created", TEXT[:], None)
    return [b"not to be seen"]


def too_late(environ, start_response):
    """After the head left, start_response raises what exc_info holds, and the application lets it pass."""
    start_response("200 OK", TEXT[:])
    yield b"half"
    try:
        raise ValueError("noticed too late")
    except ValueError:
        start_response("500 Too Late", TEXT[:], sys.exc_info())
    yield b"not to be seen"


def too_late_is_raised_again(environ, start_response):
    """The very exception comes out of start_response, with its traceback."""
    write = start_response("200 OK", TEXT[:])
    write(b"half,")
    error = ValueError("noticed too late")
    try:
        raise error
    except ValueError:
        try:
            start_response("500 Too Late", TEXT[:], sys.exc_info())
        except ValueError as again:
            same = again is error and again.__traceback__ is not None
            return [b"the same" if same else b"another"]
    return [b"nothing raised"]


def write_is_callable(environ, start_response):
    write = start_response("200 OK", TEXT[:])
    return [b"callable" if callable(write) else b"not callable"]


def too_few_arguments(environ, start_response):
    start_response("200 OK")
    return [b"not to be seen"]


application = by_name(globals())
