"""Synthetic faces with exact labels: parametric heads, rendered; no photograph of anyone is in them."""
