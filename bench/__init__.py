"""Measure the cost of the daemon, compared with the least that any server must do and a peer."""
