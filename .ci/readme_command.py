"""Print one of the README's two commands, so that CI runs what readers are told to run: `run` or `test`."""

import re
import sys
from pathlib import Path

blocks = re.findall(r"```bash\n(.*?)```", Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8"), re.S)
print(blocks[["run", "test"].index(sys.argv[1])].strip())
