"""Dead letters: entries that can never be applied, kept for operators.

The loop writes a letter (`writer`) for an entry that it cannot decode or apply, and for one that
ended several consumers (`trials`). Operators list, requeue and discard letters (`store`). A
*letter* (`letter`) holds one entry, whichever and how many groups rejected it. A tenant's letters
are bounded in bytes and age (`limits`); `tenants` keeps the list of tenants that have letters. The
Lua scripts change the letters and their index in one step. Modules in here must not import a
projection, the chores or the loop.
"""
