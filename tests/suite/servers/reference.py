"""A plain WSGI server on loopback: what an application is told by a server that loses nothing on the way.

    python3 reference.py APPLICATION.py [MOUNT]

Independent of the gateway: environ is built here as PEP 3333 and RFC 3875 say, the response is written by the standard library's
wsgiref.handlers. One request a connection. wsgiref.simple_server itself will not do: it makes up a Content-Type, lets read() wait for
ever, gives the application this process's environment and knows no chunked bodies.
"""

import io
import re
import runpy
import socketserver
import sys
from urllib.parse import unquote_to_bytes
from wsgiref.handlers import SimpleHandler


class Response(SimpleHandler):
    http_version = "1.1"
    os_environ = {}

    def send_preamble(self):
        super().send_preamble()
        self._write(b"Connection: close\r\n")

    def finish_content(self):
        if self.status[:3] in ("204", "304"):
            self.send_headers()  # without the Content-Length of 0 that the library would add
            self.headers_sent = True
        else:
            super().finish_content()

    def log_exception(self, exc_info):
        pass  # a page that fails on purpose


def decoded(path):
    return unquote_to_bytes(path.encode("latin-1")).decode("latin-1")


class Request(socketserver.StreamRequestHandler):
    def handle(self):
        request_line = self.rfile.readline().decode("latin-1").rstrip("\r\n")
        if not request_line:
            return
        method, target, protocol = request_line.split(" ")
        fields = {}
        while line := self.rfile.readline().decode("latin-1").rstrip("\r\n"):
            name, value = line.split(":", 1)
            fields.setdefault(name.lower(), []).append(value.strip(" \t"))

        # RFC 9112, section 3.2.2: the host of an absolute target stands for the Host field.
        path = target
        if absolute := re.fullmatch(r"http://([^/?]*)(.*)", target):
            fields["host"] = [absolute[1]]
            path = absolute[2]
        path, _, query = path.partition("?")
        path = decoded(path)
        if path != MOUNT and not path.startswith(MOUNT + "/"):
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            return

        body = self.body(fields)
        host = fields.get("host", ["127.0.0.1"])[0]
        environ = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": MOUNT,
            "PATH_INFO": path[len(MOUNT) :],
            "QUERY_STRING": query,
            "REQUEST_URI": target,
            "SERVER_NAME": re.sub(r":\d*$", "", host),
            "SERVER_PORT": str(self.server.server_address[1]),
            "SERVER_PROTOCOL": protocol,
            "REMOTE_ADDR": self.client_address[0],
        }
        for name, values in fields.items():
            # RFC 3875, section 4.1.18: `-` and `_` become one, so a name with `_` could pass for another. Proxy: httpoxy.org.
            if re.fullmatch(r"[a-z0-9-]+", name) and name not in ("proxy", "content-type", "content-length"):
                environ["HTTP_" + name.upper().replace("-", "_")] = ("; " if name == "cookie" else ", ").join(values)
        if kind := fields.get("content-type", [""])[0]:
            environ["CONTENT_TYPE"] = kind
        if body is not None:
            environ["CONTENT_LENGTH"] = str(len(body))

        out = io.BytesIO()
        response = Response(io.BytesIO(body or b""), out, io.StringIO(), environ, multithread=False, multiprocess=False)
        response.run(APPLICATION)
        self.wfile.write(out.getvalue())

    def body(self, fields):
        if "100-continue" in fields.get("expect", []):
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in fields.pop("transfer-encoding", []):
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body
        if "content-length" in fields:
            return self.rfile.read(int(fields["content-length"][0]))
        return None


APPLICATION = runpy.run_path(sys.argv[1])["application"]
MOUNT = sys.argv[2] if len(sys.argv) > 2 else ""
with socketserver.TCPServer(("127.0.0.1", 0), Request) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
