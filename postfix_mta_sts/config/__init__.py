"""YAML and environment variables become Settings."""
