"""Lets one file hold a family of applications: `/name` is answered by the application of that name.

It only passes the call on: what the application returns or raises reaches the gateway untouched.
"""


def by_name(applications):
    def application(environ, start_response):
        name = environ["PATH_INFO"].strip("/").split("/")[0]
        return applications[name](environ, start_response)

    return application
