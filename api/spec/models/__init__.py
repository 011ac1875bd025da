"""Models of answers and of request bodies, from which the OpenAPI document's schemas are generated.

Used by `api.spec.operations`. Answers are not made from the models at run time; tests verify that
every real answer conforms. Values that workers choose (results, extra fields) are unrestricted. A
field whose default is `ABSENT` may be missing from an answer.
"""
