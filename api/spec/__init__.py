"""The description of the API: the OpenAPI document, its page and the JavaScript client.

Operations (`*_operations`) with their models (`*_models`) become the OpenAPI document (`document`),
which the page shows. This folder imports paths, parameters and limits from the endpoints; no
endpoint imports it.
"""
