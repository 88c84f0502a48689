"""Compiled kernels of the renderer: meshes, hair, light and colour."""
