"""From models and faces to a report: embeddings, measurements, comparisons, pictures, pages."""
