"""Every way an application can have nothing to say; the path picks one."""


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/raises":
        raise RuntimeError("before any output")
    if path == "/exits":
        raise SystemExit(3)
    if path == "/never-starts":
        return []
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/empty-list":
        return []
    if path == "/empty-blocks":
        return iter([b"", b"", b""])
    if path == "/not-iterable":
        return None
    if path == "/raises-in-first-block":
        return (1 // 0 for _ in "once")
    return [b"something"]
