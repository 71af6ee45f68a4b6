"""Encoders: how one is built, kept, adopted from elsewhere, and what it promises to its callers."""
