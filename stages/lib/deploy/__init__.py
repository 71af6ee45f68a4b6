"""From a trained encoder to a file that carries its own contract, and back to embeddings."""
