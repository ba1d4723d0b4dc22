"""A package with an application in a module of it."""
