"""A Django project as `startproject` makes it, with the admin and an upload. DJANGO_FOLDER is where its data lives."""
