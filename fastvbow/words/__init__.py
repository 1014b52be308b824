"""From local features to visual words."""
