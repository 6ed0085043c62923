"""The daemon process: assembly, reload, signals, systemd, watchdog."""
