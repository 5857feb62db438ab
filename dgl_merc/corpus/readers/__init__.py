"""Readers: one file per public layout, each with one function that returns a checked corpus."""
