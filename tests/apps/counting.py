"""Counts its calls: PEP 3333 wants the application to be invoked once for each request, and to be invokable again."""

calls = 0


def application(environ, start_response):
    global calls
    calls += 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"call %d" % calls]
