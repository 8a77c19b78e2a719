"""The GPU kernel of the search's statistics."""
