from django.shortcuts import render

from .models import Article


def index(request):
    return render(request, "index.html", {"articles": Article.objects.filter(stock__gt=0).order_by("title")[:25]})
