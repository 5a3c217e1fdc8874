"""The live local page: move a parameter, and the map, the attack and its map follow.

`gradbridge explore`, or `c.explore()` in a notebook. Needs the extra `explore` (starlette and
uvicorn), which is imported when a page is served.
"""

from bridge.explore.opened import Model, Opened
from bridge.explore.view import Cover, View

__all__ = ["Cover", "Model", "Opened", "View"]
