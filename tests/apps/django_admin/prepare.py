"""Run before the site is served: makes the database with its one user. `python -m django_admin.prepare`"""

import os

import django
from django.core.management import call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_admin.settings")
django.setup()
# The model has no migrations: its table is made as it stands.
call_command("migrate", run_syncdb=True, verbosity=0)

from django.contrib.auth import get_user_model  # noqa: E402

get_user_model().objects.create_superuser("admin", "admin@example.org", "secret")
