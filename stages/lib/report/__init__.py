"""From models and faces to a report: embeddings, measurements, comparisons, pictures, pages."""

from stages.lib.report.summary import headline

__all__ = ["headline"]
