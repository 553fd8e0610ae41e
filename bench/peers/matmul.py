"""What the processors do in float32 at most, in GFLOP/s: numpy's matrix product.

python bench/peers/matmul.py THREADS
"""

import os
import sys

os.environ["OPENBLAS_NUM_THREADS"] = sys.argv[1]

import time

import numpy as np

SIZE, SECONDS = 2048, 3

left = np.ones((SIZE, SIZE), np.float32)
rates, end = [], time.perf_counter() + SECONDS
while time.perf_counter() < end:
    start = time.perf_counter()
    np.matmul(left, left)
    rates.append(2 * SIZE**3 / (time.perf_counter() - start) / 1e9)
print(max(rates))
