"""Talk to MX hosts, as far as a mail client does before it sends a message; `probe` does it."""
