"""Makes the database anew: run once, as `python -m shop.fill`."""

import os

import django
from django.core.management import call_command

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
django.setup()
call_command("migrate", run_syncdb=True, verbosity=0)

from shop.models import Article  # noqa: E402 - needs the set-up

if not Article.objects.exists():
    Article.objects.bulk_create(Article(title=f"Article {i} & more", price=i, stock=i % 7) for i in range(200))
