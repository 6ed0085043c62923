"""What is known of each domain: cache, single flight, attempts, rechecks, renewal."""
