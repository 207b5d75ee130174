"""Wiring: one file per role with its loop. The only room that reads the clock and names every concrete class."""
