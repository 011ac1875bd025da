"""Access control: who may send a request, from where, how large and how often.

`request_guard` checks every request before any endpoint runs; endpoints then identify the caller
(`callers`, `auth`). The settings are read once, when the application is made. This folder uses
`api.http` and must not import endpoints or projections.
"""
