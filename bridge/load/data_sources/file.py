"""`file:PATH`: one image file."""

from __future__ import annotations

from bridge.load.data import ImageData, Request, data_source
from bridge.load.images import Pixels, in_colour, read_image


@data_source("file")
def file(request: Request) -> ImageData:
    """The image in colour, a gray one repeated, as `folder:` gives it; it has no label."""
    path = request.path
    if not path.is_file():
        raise ValueError(f"{path} is not a file")

    def read(index: int) -> tuple[Pixels, None]:
        return in_colour(read_image(path)), None

    return ImageData(
        request.source, 1, read, request.class_names, labelled=False, name=lambda index: str(path)
    )
