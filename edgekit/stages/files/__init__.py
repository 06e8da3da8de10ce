"""Model files of other tools: loaded without code of theirs, and turned into what runtimes take."""
