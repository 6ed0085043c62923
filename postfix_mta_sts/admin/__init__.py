"""What administrators and their programs ask of a running daemon."""
