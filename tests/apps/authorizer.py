"""Tells a web server who may go on (a FastCGI Authorizer): kim may, lee only has a right password, and others meet what their name says."""

import base64
import os
import signal


def application(environ, start_response):
    def answer(status, *fields, body=b""):
        start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body))), *fields])
        return [body]

    # Nobody gets in by what is wrong here.
    if environ.get("FCGI_ROLE") != "AUTHORIZER":
        return answer("500 No Authorizer")
    if environ["wsgi.input"].read() or "CONTENT_LENGTH" in environ:
        return answer("500 An Authorizer with a body")
    role = environ.get("FCGI_APACHE_ROLE", "")
    name, password = credentials(environ)
    if password != "secret" and role != "AUTHORIZER":
        realm = ("WWW-Authenticate", 'Basic realm="the authorizer"')
        return answer("401 Unauthorized", realm, body=b"who are you?")
    if name == "kim" or (name, role) == ("lee", "AUTHENTICATOR"):
        fields = [("X-Seen-By", "authorizer"), ("Variable-REMOTE_USER", name)]
        # Where Apache asks both, it joins what both say of the same name.
        if role != "AUTHORIZER":
            asked = f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}|{environ['QUERY_STRING']}"
            fields.append(("Variable-ASKED", asked))
        if role != "AUTHENTICATOR":
            fields.append(("Variable-MEMBER_OF", "staff, caf\xe9"))
        return answer("200 OK", *fields, body=b"not for clients")
    if name == "robin":
        return answer("302 Found", ("Location", "/login?next=" + environ["PATH_INFO"]))
    if name == "raises":
        raise RuntimeError("an authorizer that fails")
    if name == "mute":
        return []
    if name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return answer("403 Forbidden", body=b"not you, " + name.encode("latin-1"))


def credentials(environ):
    """Name and password, taken apart by Apache or as the client sent them."""
    if "REMOTE_USER" in environ:
        return environ["REMOTE_USER"], environ.get("REMOTE_PASSWD", "")
    scheme, _, word = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme != "Basic":
        return "", ""
    name, _, password = base64.b64decode(word).decode("latin-1").partition(":")
    return name, password
