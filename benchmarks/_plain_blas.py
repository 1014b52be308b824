"""Import before NumPy: OpenBLAS chooses its kernels by itself, in whichever library it comes."""

import os

for _name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_name, None)
