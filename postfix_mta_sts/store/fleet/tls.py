"""What a shared store has to prove with TLS, whatever engine it has."""

import ssl


def client_context(authorities: str | None) -> ssl.SSLContext:
    """Return the requirements; `authorities` as in `SharedStoreSettings`."""
    # Not ssl.create_default_context: that writes session keys to the file in $SSLKEYLOGFILE.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain, dates and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(cadata=authorities)
    return context
