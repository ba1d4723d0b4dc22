"""Answers with the variables of environ that are strings, one `NAME=value` a line, in order; but for the request's own id."""


def application(environ, start_response):
    del environ["wsgi_gateway.request_id"]
    lines = sorted(f"{name}={value}\n" for name, value in environ.items() if type(value) is str)
    body = "".join(lines).encode("latin-1")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
