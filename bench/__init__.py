"""What the daemon costs, beside the least that any server must do and beside a peer."""
