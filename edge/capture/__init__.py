"""Frames: from a camera, a folder, a clip, one image."""
