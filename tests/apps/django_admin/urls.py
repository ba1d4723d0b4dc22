"""What the site answers. Its files come from Django too, so that nothing but the gateway is between them and the web server."""

from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import path

from .views import media

urlpatterns = [
    path("admin/", admin.site.urls),
    # `insecure` is Django's word for "although DEBUG is off".
    path("static/<path:path>", serve, {"insecure": True}),
    path("media/<str:name>", media),
]
