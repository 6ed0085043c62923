"""The exceptions of a running daemon: kept, changed by commands, and what is said of them.

`keeper` has them, `stages` says when one is near its end, `log_lines` writes what happens to them,
`operations` and `routes` answer commands.
"""
