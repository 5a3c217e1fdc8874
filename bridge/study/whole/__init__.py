"""Whole datasets: streamed in bounded memory, resumable at any moment, sharded, merged.

`run_study` (run.py) cuts a dataset into parts of a fixed number of images; a part is on the disk
whole or not at all (parts.py), and counts when its sidecar stands. `Study` (study.py) reads them.
"""
