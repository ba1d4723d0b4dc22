"""The settings of the other site, with an application of its own and uploads. All URLs are relative: Django puts SCRIPT_NAME in front."""

from django_site.settings import *  # noqa: F403
from django_site.settings import FOLDER, INSTALLED_APPS

ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = [*INSTALLED_APPS, "django_admin"]
ROOT_URLCONF = "django_admin.urls"
WSGI_APPLICATION = "django_admin.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MEDIA_ROOT = FOLDER / "media"
MEDIA_URL = "media/"
