"""A site that is nothing but Django's admin, with one model that has a file. DJANGO_FOLDER is where its data lives."""
