"""Faces by person, without names and without training: evidence, linkage, communities of large libraries, checks."""
