"""Toybox: a sentence becomes a small scene of real solids, and the scene becomes pictures, depth and masks."""
