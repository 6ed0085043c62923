"""Import the modules that talk to mail servers, for a command that needs them."""

from importlib import import_module

from postfix_mta_sts.cli.parser import CommandError


def import_probe(what: str, exit_code: int) -> None:
    """Import what talks to MX hosts; a machine may lack the libraries for it.

    Raises `CommandError` that says what needs them: each probe would fail for the same reason.
    """
    try:
        import_module("postfix_mta_sts.network.smtp.probe")
    except ModuleNotFoundError as error:
        reason = f"{what} needs pyOpenSSL and cryptography; there is no module {error.name}"
        raise CommandError(reason, exit_code) from error
