"""The rules of `doctor`: each looks at a snapshot and says what is not as it should be. Pure."""
