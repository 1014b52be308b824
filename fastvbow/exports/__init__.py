"""Groups in the formats of annotation tools, and the labels that come back from there."""
