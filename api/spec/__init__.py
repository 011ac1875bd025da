"""The description of the API: the OpenAPI document, its page and the JavaScript client.

The `operations` and their `models` become the OpenAPI document (`document`), which the page shows
(`docs_page`). The client is served with all kinds of jobs (`client_files`, `client_kinds`). This
folder imports paths, parameters and limits from the endpoints; no endpoint imports it.
"""
