"""What Postfix asks and how it is answered, as pure functions of bytes and states."""
