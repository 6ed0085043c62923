"""`postfix-mta-sts trial …`: what would happen if policies were enforced."""
