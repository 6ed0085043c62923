"""The commands. Border: arguments in, exit code and text out; what they do is done below."""


def main() -> int:
    """Run the command that the arguments name; the process's exit code."""
    raise NotImplementedError
