"""The conversation with Postfix: protocols, server, replies, maps, listeners, probe, postconf."""
