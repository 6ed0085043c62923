"""Read the configuration: a YAML file and environment variables become `Settings`."""
