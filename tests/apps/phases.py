"""Reads the whole body, whatever becomes of that, and says who asked for what."""


def application(environ, start_response):
    try:
        body = "%d bytes" % len(environ["wsgi.input"].read())
    except OSError:
        body = "no body"
    text = "%s asked for %s with %s" % (environ.get("REMOTE_USER") or "nobody", environ["PATH_INFO"], body)
    environ["wsgi.errors"].write(text + "\n")
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode("latin-1")]
