"""The process: assembly, reload, signals, systemd, watchdog."""
