"""From topics to what a person uses: a group, a probability and an entropy for every image."""
