"""`man`: the man pages, made of templates, the parser of the command line and the example file."""
