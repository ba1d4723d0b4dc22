"""wsgi.input read in every way that PEP 3333 names. Each answers with ascii() of what it got."""

import zlib

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]
kept = {}


def _shows(read):
    def application(environ, start_response):
        answer = ascii(read(environ["wsgi.input"])).encode()
        start_response("200 OK", TEXT[:])
        return [answer]

    return application


def _pieces(size):
    def read(source):
        pieces = []
        while piece := source.read(size):
            pieces.append(piece)
        return pieces

    return read


def _lines(size):
    def read(source):
        lines = []
        while line := source.readline(size):
            lines.append(line)
        return lines

    return read


all_of_it = _shows(lambda source: source.read())
all_by_minus_one = _shows(lambda source: source.read(-1))
all_by_none = _shows(lambda source: source.read(None))
nothing_by_zero = _shows(lambda source: (source.read(0), source.read()))
by_three = _shows(_pieces(3))
more_than_there_is = _shows(lambda source: (source.read(1_000_000), source.read(10), source.read(), source.readline()))
at_the_end = _shows(
    lambda source: (source.read(), source.read(), source.read(5), source.readline(), source.readlines(), list(source))
)
lines = _shows(_lines(-1))
lines_of_four = _shows(_lines(4))
line_by_none = _shows(lambda source: (source.readline(None), source.readline()))
line_by_zero = _shows(lambda source: (source.readline(0), source.readline()))
all_lines = _shows(lambda source: source.readlines())
all_lines_by_none = _shows(lambda source: source.readlines(None))
lines_with_hint = _shows(lambda source: (source.readlines(6), source.readlines()))
iterated = _shows(list)
mixed = _shows(lambda source: (source.read(2), source.readline(), next(iter(source)), source.read(1), source.readlines()))
has_no_more_than_the_four = _shows(
    lambda source: [name for name in ("read", "readline", "readlines", "__iter__") if not hasattr(source, name)]
)


def checksum(environ, start_response):
    """For large bodies: size and Adler-32, in pieces."""
    size, total = 0, 1
    while piece := environ["wsgi.input"].read(65536):
        size += len(piece)
        total = zlib.adler32(piece, total)
    start_response("200 OK", TEXT[:])
    return [b"%d %d" % (size, total)]


def checksum_at_once(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", TEXT[:])
    return [b"%d %d" % (len(body), zlib.adler32(body))]


def echo(environ, start_response):
    body = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return [body]


def unread(environ, start_response):
    start_response("200 OK", TEXT[:])
    return [b"unread"]


def partly(environ, start_response):
    body = environ["wsgi.input"].read(3)
    start_response("200 OK", TEXT[:])
    return [body]


def while_answering(environ, start_response):
    """Reads in the middle of its own body."""
    source = environ["wsgi.input"]
    start_response("200 OK", TEXT[:])
    while piece := source.read(4):
        yield piece.upper()


def in_close(environ, start_response):
    """The request lasts until close() has run, so its input must too. The query names a file for the answer."""
    source, mark = environ["wsgi.input"], environ["QUERY_STRING"]

    class Blocks:
        def __iter__(self):
            return iter([b"sent"])

        def close(self):
            with open(mark, "ab") as file:
                file.write(source.read())

    start_response("200 OK", TEXT[:])
    return Blocks()


def keep(environ, start_response):
    """Remembers its input for `/use_kept`, which comes with the next request."""
    kept["input"] = environ["wsgi.input"]
    start_response("200 OK", TEXT[:])
    return [environ["wsgi.input"].read(2)]


def use_kept(environ, start_response):
    answers = []
    for use in (
        lambda source: source.read(),
        lambda source: source.read(1),
        lambda source: source.readline(),
        lambda source: source.readlines(),
        lambda source: list(source),
    ):
        try:
            answers.append(ascii(use(kept["input"])))
        except ValueError as error:
            answers.append(type(error).__name__)
    start_response("200 OK", TEXT[:])
    return [" ".join(answers).encode()]


def keep_until_exit(environ, start_response):
    """The same for a process that serves one request: tried when the interpreter ends, told on stderr."""
    import atexit
    import sys

    source = environ["wsgi.input"]

    def use():
        try:
            print("after the request:", ascii(source.read()), file=sys.stderr)
        except ValueError:
            print("after the request: ValueError", file=sys.stderr)

    atexit.register(use)
    start_response("200 OK", TEXT[:])
    return [source.read(2)]


def _short(use):
    def application(environ, start_response):
        try:
            answer = ascii(use(environ["wsgi.input"]))
        except OSError as error:
            answer = "OSError: " + str(error)
        start_response("200 OK", TEXT[:])
        return [answer.encode()]

    return application


short_read = _short(lambda source: source.read())
short_pieces = _short(_pieces(3))
short_lines = _short(_lines(-1))
short_iteration = _short(list)
short_readlines = _short(lambda source: source.readlines())


def short_unhandled(environ, start_response):
    environ["wsgi.input"].read()
    start_response("200 OK", TEXT[:])
    return [b"the body was whole"]


def attributes(environ, start_response):
    start_response("200 OK", TEXT[:])
    return [ascii(environ.get("wsgi.input_terminated")).encode()]


application = by_name(globals())
