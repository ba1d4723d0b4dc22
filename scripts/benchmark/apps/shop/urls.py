from django.urls import re_path

from .views import index

# Whatever the path that the web server has it at.
urlpatterns = [re_path("", index)]
