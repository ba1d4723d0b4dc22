"""An ASGI application, with no framework, behind a2wsgi."""

from a2wsgi import ASGIMiddleware


async def asgi(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/fails":
        raise RuntimeError("the ASGI application failed")
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain"), (b"x-path", scope["path"].encode())],
        }
    )
    for line in ("one\n", "two\n"):
        await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"%s %d\n" % (scope["method"].encode(), size)})


application = ASGIMiddleware(asgi)
