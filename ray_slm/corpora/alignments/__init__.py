"""Alignments that other programs made: one module for each format, one protocol for all."""
