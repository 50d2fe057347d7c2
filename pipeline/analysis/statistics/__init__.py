"""Methods that several families of analysis share. Nothing here knows a table or a workflow."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

STATED_PROBABILITY = 0.9
"""A difference is stated to people if its posterior probability is above this."""
