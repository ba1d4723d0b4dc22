"""Answers with the variables of environ that are strings, one `NAME=value` a line, in order."""


def application(environ, start_response):
    lines = sorted(f"{name}={value}\n" for name, value in environ.items() if type(value) is str)
    body = "".join(lines).encode("latin-1")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
