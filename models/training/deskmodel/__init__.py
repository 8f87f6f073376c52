"""The desk detector: data, training, export and evaluation. Nothing of it runs on a unit."""
