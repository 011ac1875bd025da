"""Work on dead letters for `jobtrail dead` and for the console.

The command selects letters and acts on them (`selection`); the console reads and acts through
`view`. `facts` are the values that the command prints, `console_facts` those of the console.
"""
