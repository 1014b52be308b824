"""Where photographs come from: the list of files, and their pixels."""
