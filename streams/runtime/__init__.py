"""What a process takes from and gives to its surroundings: variables, signals, safe text.

The room imports nothing else of `streams`.
"""
