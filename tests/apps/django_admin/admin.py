"""How the admin shows it."""

from django.contrib import admin
from django.utils.html import format_html

from .models import Document


@admin.register(Document)
class DocumentAdmin(admin.ModelAdmin):
    list_display = ["title", "download"]

    def download(self, document):
        return format_html('<a class="download" href="{}">{}</a>', document.file.url, document.file.name)
