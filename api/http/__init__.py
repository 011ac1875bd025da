"""Building blocks of HTTP answers: problems, headers, entity tags, cursors, languages, files.

All other folders of `api` use this one; it imports none of them. Data flows one way: a handler
passes a value, and gets bytes, headers or an exception back.
"""
