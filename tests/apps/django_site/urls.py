"""What the site answers."""

from django.contrib import admin
from django.urls import path

from . import views

urlpatterns = [
    path("", views.home, name="home"),
    path("hello/<str:name>", views.hello, name="hello"),
    path("upload", views.upload, name="upload"),
    path("file", views.file, name="file"),
    path("stream", views.stream, name="stream"),
    path("fails", views.fails, name="fails"),
    path("admin/", admin.site.urls),
]
