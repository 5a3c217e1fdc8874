"""The fast implementations: shared passes, chunks, epsilons in one batch, incremental occlusion.

`run_many(model, x, target, {method: params})` runs many methods with the fewest passes;
`plan(...).explain()` says how. One method alone is `bridge.run(method, ...,
implementation="fused")`. A method's fused function stands in the method's own file.
"""

from bridge.fused.chunks import chunk_size
from bridge.fused.many import Many, run_many
from bridge.fused.minimal import Minimal, minimal_epsilon
from bridge.fused.planning import Plan, plan

__all__ = ["Many", "Minimal", "Plan", "chunk_size", "minimal_epsilon", "plan", "run_many"]
