"""Commands of administrators on the store that relays share; none needs a running daemon."""
