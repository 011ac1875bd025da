"""Models of answers and of request bodies, from which the OpenAPI document's schemas are generated.

Answers are not made from them at run time; tests verify that every real answer conforms. Values
that workers choose (results, extra fields) are unrestricted. A field with a default may be missing
from an answer, but is not null.
"""
