"""wsgi.errors: a text stream with write, writelines and flush (PEP 3333, "Input and Error Streams")."""

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]


def _says(say):
    def application(environ, start_response):
        say(environ["wsgi.errors"])
        start_response("200 OK", TEXT[:])
        return [b"said"]

    return application


write = _says(lambda errors: errors.write("plain line\n"))
printed = _says(lambda errors: print("printed", "line", file=errors, flush=True))
writelines = _says(lambda errors: errors.writelines(["first line\n", "second line\n"]))
flush = _says(lambda errors: (errors.write("flushed line\n"), errors.flush()))
unicode = _says(lambda errors: errors.write("euro \u20ac, e acute \xe9\n"))
surrogate = _says(lambda errors: errors.write("byte \udcff here\n"))
without_newline = _says(lambda errors: errors.write("no newline at the end"))
several_lines = _says(lambda errors: errors.write("line one\nline two\nline three\n"))
large = _says(lambda errors: errors.write("".join(f"{n:07}\n" for n in range(12500))))


def traceback(environ, start_response):
    import traceback

    try:
        raise LookupError("told by the application itself")
    except LookupError:
        traceback.print_exc(file=environ["wsgi.errors"])
    start_response("200 OK", TEXT[:])
    return [b"said"]


def logging(environ, start_response):
    import logging

    handler = logging.StreamHandler(environ["wsgi.errors"])
    logging.getLogger("test").addHandler(handler)
    logging.getLogger("test").warning("through %s", "logging")
    logging.getLogger("test").removeHandler(handler)
    start_response("200 OK", TEXT[:])
    return [b"said"]


def in_the_iteration(environ, start_response):
    start_response("200 OK", TEXT[:])
    environ["wsgi.errors"].write("before the block\n")
    yield b"said"
    environ["wsgi.errors"].write("after the block\n")


def bytes_are_refused(environ, start_response):
    try:
        environ["wsgi.errors"].write(b"bytes")
    except TypeError:
        answer = b"TypeError"
    else:
        answer = b"accepted"
    start_response("200 OK", TEXT[:])
    return [answer]


application = by_name(globals())
