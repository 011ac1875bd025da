"""The description of the API: operations, models, the OpenAPI document, its page and client.

It is the highest room below the application: it reads paths and parameters from the endpoints, and
no endpoint imports it.
"""
