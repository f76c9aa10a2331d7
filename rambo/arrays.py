"""The arrays that pass between parts, each with one name; shapes stand where they are used."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
"""Dataset indices: how images are named wherever a function's boundary is crossed."""

Labels = NDArray[np.int64]
"""Classes 0..C−1, or −1 where hidden."""

Images = NDArray[np.uint8]
"""(N, C, H, W)."""

Inputs = NDArray[Any]
"""What there is of each image: the image, (N, C, H, W) uint8, or an embedding in its place, (N, d) float32."""

Members = NDArray[np.bool_]
"""Sets as rows over the k seed images."""

Floats = NDArray[np.float64]
"""What is computed or measured: accuracies, distances, scores, differences."""

Features = NDArray[np.float32]
"""What a network makes of images: activations, probabilities, embeddings."""
