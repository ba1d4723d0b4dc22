"""Says who may see what: a WSGI application for the web servers' configurations in this folder. Yours asks its own database."""

import base64
import hmac

PASSWORDS = {"kim": "change me"}


def application(environ, start_response):
    if environ.get("FCGI_ROLE") != "AUTHORIZER":
        # Somebody has put it where applications stand: that must not be a way to try passwords.
        start_response("404 Not Found", [("Content-Length", "0")])
        return []
    name, password = credentials(environ)
    # Apache asks twice: about the password, and then whether this user may see PATH_INFO. Here everybody may see everything.
    is_known = environ.get("FCGI_APACHE_ROLE") == "AUTHORIZER"
    if is_known or (name in PASSWORDS and hmac.compare_digest(PASSWORDS[name].encode(), password.encode())):
        start_response("200 OK", [("Variable-REMOTE_USER", name), ("Content-Length", "0")])
        return []
    page = b"A name and a password, please.\n"
    fields = [("WWW-Authenticate", 'Basic realm="the site"'), ("Content-Type", "text/plain"), ("Content-Length", str(len(page)))]
    start_response("401 Unauthorized", fields)
    return [page]


def credentials(environ):
    """Name and password: Apache has taken them apart, others pass on what the client sent."""
    if "REMOTE_PASSWD" in environ or "REMOTE_USER" in environ:
        return environ.get("REMOTE_USER", ""), environ.get("REMOTE_PASSWD", "")
    scheme, _, word = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    try:
        name, _, password = base64.b64decode(word, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return (name, password) if scheme.lower() == "basic" else ("", "")
