"""The HTML report of a project."""
