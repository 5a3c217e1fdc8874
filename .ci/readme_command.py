"""Print one of the README's two commands, which CI runs as readers do: `run` or `test`."""

import re
import sys
from pathlib import Path

readme = Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")
blocks = re.findall(r"```bash\n(.*?)```", readme, re.DOTALL)
print(blocks[["run", "test"].index(sys.argv[1])].strip())
