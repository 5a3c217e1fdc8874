"""Compute test vectors in JAX: `python -m tests.vectors.jax_process FOLDER FILE float64`.

A process of its own, since JAX has one precision for a whole process; float32 on exact networks.
"""

import sys
from pathlib import Path

import jax
import numpy as np

from tests.vectors import jax_reader, numpy_reader

folder, file, precision = sys.argv[1:]
jax.config.update("jax_enable_x64", precision == "float64")
jax.config.update("jax_disable_most_optimizations", True)  # half the time to compile
networks = ("exact", "black") if precision == "float32" else ()
answers = numpy_reader.answers(Path(folder), jax_reader.Methods, networks=networks)
assert not {"torch", "bridge"} & set(sys.modules), "the reader has seen more than the vectors"
np.savez(file, **answers)
