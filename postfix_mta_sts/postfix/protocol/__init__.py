"""What Postfix asks and is told, as pure functions."""
