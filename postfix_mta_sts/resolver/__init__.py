"""What is known of each domain."""
