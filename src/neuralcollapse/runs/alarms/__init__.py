"""Alarms: what of a run people should look at, each a function of its own."""
