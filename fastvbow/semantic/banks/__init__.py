"""Banks of texts: where nouns and captions come from, and their embeddings."""
