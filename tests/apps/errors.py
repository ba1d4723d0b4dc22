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


def bytes_by_buffer(environ, start_response):
    buffer = environ["wsgi.errors"].buffer
    written = buffer.write(b"bytes \xe2\x82\xac\n")
    written += buffer.write(bytearray(b"bytearray\n")) + buffer.write(memoryview(b"memoryview\n"))
    buffer.writelines([b"first bytes\n", b"second bytes\n"])
    buffer.flush()
    start_response("200 OK", TEXT[:])
    return [str(written).encode()]


def text_over_buffer(environ, start_response):
    """What codecs and io make of a stream of bytes leaves it usable when they are gone."""
    import codecs
    import io

    errors = environ["wsgi.errors"]
    codecs.getwriter("utf-8")(errors.buffer).write("by codecs\n")
    wrapper = io.TextIOWrapper(errors.buffer, "utf-8")
    wrapper.write("by a wrapper\n")
    wrapper.close()
    with __import__("contextlib").closing(errors):
        pass
    errors.write("after both\n")
    start_response("200 OK", TEXT[:])
    return [b"said"]


def as_stderr(environ, start_response):
    """What programs ask of sys.stderr."""
    import io
    import sys
    import warnings

    errors, before = environ["wsgi.errors"], sys.stderr
    sys.stderr = errors
    try:
        warnings.warn("told by warnings", stacklevel=1)
        facts = [
            (errors.encoding, errors.errors, errors.closed, errors.newlines, errors.mode, errors.name),
            (errors.isatty(), errors.readable(), errors.writable(), errors.seekable()),
            (errors.buffer.closed, errors.buffer.isatty(), errors.buffer.writable(), errors.buffer.readable()),
        ]
        for stream in (errors, errors.buffer):
            try:
                stream.fileno()
            except io.UnsupportedOperation as error:
                facts.append(str(error))
    finally:
        sys.stderr = before
    start_response("200 OK", TEXT[:])
    return [repr(facts).encode()]


def wrong_kinds(environ, start_response):
    errors = environ["wsgi.errors"]
    said = []
    for write, what in [
        (errors.write, b"bytes"),
        (errors.write, None),
        (errors.writelines, [5]),
        (errors.buffer.write, "text"),
        (errors.buffer.write, 5),
    ]:
        try:
            write(what)
        except TypeError as error:
            said.append(str(error))
    start_response("200 OK", TEXT[:])
    return ["\n".join(said).encode()]


application = by_name(globals())
