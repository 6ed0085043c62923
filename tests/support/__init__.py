"""The other side of every wire, in the process: DNS, TLS and HTTPS servers made to misbehave.

Nothing here leaves 127.0.0.1 (or ::1). A double counts what it is asked and can be told to hold
its answers back, so that a test waits for an event and never for a time.
"""
