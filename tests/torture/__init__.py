"""Minutes of faults under load, and a checker that knows what the daemon must know.

`README.md` says how to run it and how to read a violation.
"""
