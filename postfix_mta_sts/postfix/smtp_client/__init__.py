"""What smtp(8) does with a message, as pure functions of what the DNS and the MX hosts say.

`delivery.predict` is the way in. It does no I/O: `network.smtp` talks to the hosts.
"""
