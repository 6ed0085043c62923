"""The conversation with Postfix (protocols, server, replies, maps, listeners) and its programs."""
