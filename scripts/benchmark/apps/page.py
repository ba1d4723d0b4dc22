"""A Flask page of 10 KB, from a template with inheritance, a loop, conditions and escaping."""

from flask import Flask, render_template, request, url_for
from jinja2 import DictLoader

LAYOUT = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{% block title %}{% endblock %}</title></head>
<body><nav><a href="{{ url_for('index') }}">Home</a> <a href="{{ url_for('about') }}">About</a></nav>
<main>{% block main %}{% endblock %}</main><footer>{{ request.path }}</footer></body></html>
"""
INDEX = """{% extends "layout.html" %}{% block title %}Orders of {{ customer }}{% endblock %}
{% block main %}<h1>Orders of {{ customer }}</h1><table>{% for order in orders %}
<tr class="{{ loop.cycle('odd', 'even') }}"><td>{{ order.number }}</td><td>{{ order.title }}</td>
<td>{% if order.paid %}paid{% else %}<b>open</b>{% endif %}</td><td>{{ "%.2f"|format(order.price) }}</td></tr>{% endfor %}
</table>{% endblock %}
"""

app = Flask(__name__)
app.jinja_loader = DictLoader({"layout.html": LAYOUT, "index.html": INDEX})
ORDERS = [
    {"number": 1000 + i, "title": f"Pencils & paper, box {i} <large>", "paid": i % 3 > 0, "price": 3.25 * i} for i in range(85)
]


@app.get("/")
def index():
    return render_template("index.html", customer=request.args.get("customer", "A. Tester"), orders=ORDERS)


@app.get("/about")
def about():
    return url_for("index")
