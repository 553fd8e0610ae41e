"""Labelled images: errors with their intervals, confusions, and whether one of two models is really better."""
