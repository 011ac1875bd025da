"""What every HTTP answer has in common: problems, headers, entity tags, cursors, languages.

This is the lowest room of the API: it imports no other one.
"""
