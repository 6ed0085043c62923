"""The interfaces for administrators and their programs: control, metrics, health, diagnosis."""
