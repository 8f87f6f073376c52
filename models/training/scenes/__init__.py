"""Rendered desk scenes with exact boxes, by domain randomization (needs `bpy`, Blender as a module)."""
