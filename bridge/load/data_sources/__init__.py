"""Where images come from: a file a source, and its name is the scheme (`npz.py` serves `npz:PATH`).

A file registers `source(request) -> ImageData` with `bridge.load.data.data_source`.
"""
