"""What the daemon does with the store that relays share, behind its replies."""
