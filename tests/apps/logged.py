"""What an access log has to tell of: ids, times, failures, large answers."""

import time


def application(environ, start_response):
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path == "/raises":
        raise ValueError("as it was told to")
    if path == "/misused":
        return ["no start_response"]
    if path == "/sleeps":
        time.sleep(float(query))
    head = [("Content-Type", "text/plain")]
    if path == "/cut":
        start_response("200 OK", head + [("Content-Length", "10")])
        return iter([b"short"])
    if path == "/stream":
        start_response("200 OK", head)
        return stream()
    start_response("404 Not Found" if path == "/missing" else "200 OK", head)
    return [environ["wsgi_gateway.request_id"].encode()]


def stream():
    yield b"first"
    time.sleep(0.2)
    yield b"second"
