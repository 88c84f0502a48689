"""Readers of the original weight files and the way from them to inference models (see tools/convert_models.py)."""
