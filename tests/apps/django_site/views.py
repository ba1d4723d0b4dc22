"""One view for each thing that a gateway can get wrong for Django."""

import zlib

from django.conf import settings
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt


def home(request):
    return HttpResponse(f"home {request.build_absolute_uri(reverse('upload'))}")


def hello(request, name):
    return JsonResponse({"name": name, "query": request.GET.get("q"), "secure": request.is_secure()})


@csrf_exempt
def upload(request):
    """A multipart upload, which Django streams from wsgi.input into a temporary file."""
    sent = request.FILES["file"]
    size, total = 0, 1
    for chunk in sent.chunks():
        size += len(chunk)
        total = zlib.adler32(chunk, total)
    return HttpResponse(f"{sent.name} {size} {total} {request.POST['comment']}")


def file(request):
    """FileResponse finds wsgi.file_wrapper."""
    return FileResponse(open(settings.FOLDER / "digits", "rb"), content_type="text/plain")


def stream(request):
    return StreamingHttpResponse((f"line {number}\n" for number in range(3)), content_type="text/plain")


def fails(request):
    raise RuntimeError("the view failed")
