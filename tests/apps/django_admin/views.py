"""Downloads, which the admin itself does not have."""

import re

from django.conf import settings
from django.http import FileResponse, Http404, HttpResponse


def media(request, name):
    """A file, or one range of it (RFC 9110, section 14). FileResponse gives it to wsgi.file_wrapper, from where the file stands."""
    path = settings.MEDIA_ROOT / name
    if not path.is_file():
        raise Http404(name)
    size = path.stat().st_size
    first, last = 0, size - 1
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    if asked:
        first, last = int(asked[1]), min(int(asked[2] or last), last)
        if first > last:
            return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    file = path.open("rb")
    file.seek(first)
    response = FileResponse(file, content_type="application/octet-stream", status=206 if asked else 200)
    response["Accept-Ranges"] = "bytes"
    response["Content-Length"] = last - first + 1
    if asked:
        response["Content-Range"] = f"bytes {first}-{last}/{size}"
    return response
