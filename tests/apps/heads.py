"""Status lines and headers, good and bad. The good ones answer 200 or what they say, the bad ones must become a 500."""

from by_name import by_name

TEXT = ("Content-Type", "text/plain")


def _status(status):
    def application(environ, start_response):
        start_response(status, [TEXT])
        return [b"sent"]

    return application


def _headers(*headers):
    def application(environ, start_response):
        start_response("200 OK", list(headers))
        return [b"sent"]

    return application


# Status lines.
custom_reason = _status("299 As You Like It")
latin1_reason = _status("200 Tr\xe8s bien")
three_digits_only = _status("799 Odd")
bad_status = {
    "word": _status("OK"),
    "empty": _status(""),
    "two_digits": _status("20 OK"),
    "four_digits": _status("2000 OK"),
    "below_100": _status("099 OK"),
    "informational": _status("103 Early Hints"),
    "cr": _status("200 OK\rX-Evil: 1"),
    "lf": _status("200 OK\nX-Evil: 1"),
    "crlf": _status("200 OK\r\nX-Evil: 1"),
    "nul": _status("200 O\0K"),
    "ends_with_lf": _status("200 OK\n"),
    "not_latin1": _status("200 \u20ac"),
    "bytes": _status(b"200 OK"),
    "int": _status(200),
    "none": _status(None),
    "other_digits": _status("\u0662\u0660\u0660 OK"),
}

# Headers.
in_order = _headers(TEXT, ("X-Two", "2"), ("x-one", "1"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Empty", ""))
latin1_value = _headers(TEXT, ("X-Name", "Andr\xe9"))
token_name = _headers(TEXT, ("X!#$%&'*+-.^_`|~9", "token"))
own_date_and_server = _headers(TEXT, ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("Server", "mine"))
int_length = _headers(TEXT, ("Content-Length", 4))
bad_headers = {
    "cr_in_value": _headers(TEXT, ("X-Bad", "a\rX-Evil: 1")),
    "lf_in_value": _headers(TEXT, ("X-Bad", "a\nX-Evil: 1")),
    "crlf_in_value": _headers(TEXT, ("X-Bad", "a\r\nX-Evil: 1")),
    "folded_value": _headers(TEXT, ("X-Bad", "a\r\n b")),
    "nul_in_value": _headers(TEXT, ("X-Bad", "a\0b")),
    "value_ends_with_lf": _headers(TEXT, ("X-Bad", "a\n")),
    "other_control_in_value": _headers(TEXT, ("X-Bad", "a\x1bb")),
    "value_not_latin1": _headers(TEXT, ("X-Bad", "\u20ac")),
    "value_bytes": _headers(TEXT, ("X-Bad", b"a")),
    "value_none": _headers(TEXT, ("X-Bad", None)),
    "name_cr": _headers(TEXT, ("X-Bad\r", "a")),
    "name_lf": _headers(TEXT, ("X-Bad\nX-Evil", "a")),
    "name_nul": _headers(TEXT, ("X-Bad\0", "a")),
    "name_colon": _headers(TEXT, ("X-Bad:", "a")),
    "name_space": _headers(TEXT, ("X Bad", "a")),
    "name_empty": _headers(TEXT, ("", "a")),
    "name_not_ascii": _headers(TEXT, ("X-B\xe4d", "a")),
    "name_bytes": _headers(TEXT, (b"X-Bad", "a")),
    "name_none": _headers(TEXT, (None, "a")),
    "not_a_pair": _headers(TEXT, ("X-Bad", "a", "b")),
    "not_a_tuple": _headers(TEXT, "X-Bad: a"),
    "connection": _headers(TEXT, ("Connection", "close")),
    "keep_alive": _headers(TEXT, ("Keep-Alive", "timeout=5")),
    "proxy_authenticate": _headers(TEXT, ("Proxy-Authenticate", "Basic")),
    "proxy_authorization": _headers(TEXT, ("Proxy-Authorization", "Basic eA==")),
    "te": _headers(TEXT, ("TE", "trailers")),
    "trailers": _headers(TEXT, ("Trailers", "X-Sum")),
    "transfer_encoding": _headers(TEXT, ("tRANSFER-eNCODING", "chunked")),
    "upgrade": _headers(TEXT, ("Upgrade", "h2c")),
}
own_status = _headers(TEXT, ("Status", "404 Not Found"))


def headers_not_iterable(environ, start_response):
    start_response("200 OK", None)
    return [b"sent"]


def str_subclass(environ, start_response):
    """Frameworks pass their own string types, such as Django's SafeString."""

    class Text(str):
        pass

    start_response(Text("200 OK"), [(Text("X-Text"), Text("yes"))])
    return [b"sent"]


application = by_name({**globals(), **bad_status, **bad_headers})
