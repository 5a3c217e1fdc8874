"""Where models come from: a file a source, named after its scheme (`timm.py` serves `timm:NAME`).

A file registers `source(name, pretrained) -> (module, what wrap is told of it)` with
`bridge.load.models.model_source`.
"""
