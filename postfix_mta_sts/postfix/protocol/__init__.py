"""The protocols and replies as pure functions of bytes and states, without I/O."""
