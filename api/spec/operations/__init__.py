"""The operations of the API: one method of one path each, as the OpenAPI document describes them.

`all_operations` collects them for `api.spec.document`; `operation` is what all are made of.
"""
