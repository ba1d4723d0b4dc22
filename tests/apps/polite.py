"""Well-behaved answers for what the other files do with one argument too many for wsgiref.validate."""

from by_name import by_name

TEXT = [("Content-Type", "text/plain")]


def reads(environ, start_response):
    source = environ["wsgi.input"]
    body = [source.read(2), source.readline(), *source.readlines()]
    start_response("200 OK", TEXT[:])
    return [ascii(body).encode()]


def iterates(environ, start_response):
    body = list(environ["wsgi.input"])
    start_response("200 OK", TEXT[:])
    return [ascii(body).encode()]


def says(environ, start_response):
    errors = environ["wsgi.errors"]
    errors.write("one\n")
    errors.writelines(["two\n", "three\n"])
    errors.flush()
    start_response("200 OK", TEXT[:])
    return [b"said"]


def writes(environ, start_response):
    start_response("200 OK", TEXT[:])(b"written,")
    return [b"returned"]


def fails_politely(environ, start_response):
    import sys

    start_response("200 OK", TEXT[:])
    try:
        raise ValueError("in time")
    except ValueError:
        start_response("500 Oops", TEXT[:], sys.exc_info())
    return [b"oops"]


def no_content(environ, start_response):
    start_response("204 No Content", [])
    return []


def sends_a_file(environ, start_response):
    start_response("200 OK", TEXT[:])
    return environ["wsgi.file_wrapper"](open(environ["QUERY_STRING"], "rb"), 1000)


application = by_name(globals())
