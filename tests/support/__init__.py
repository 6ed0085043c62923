"""Test doubles in the process: DNS, TLS and HTTPS servers that can misbehave, fake stores, clients.

No packet leaves 127.0.0.1 (or ::1). A double counts its calls and can hold its answers back, so
that a test waits for an event and never for a time.
"""
