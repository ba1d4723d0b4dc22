"""Run before the site is served: makes the database with its one user. `python -m django_site.prepare`"""

import os

import django
from django.core.management import call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_site.settings")
django.setup()
call_command("migrate", verbosity=0)

from django.contrib.auth import get_user_model  # noqa: E402

get_user_model().objects.create_superuser("admin", "admin@example.org", "secret")
