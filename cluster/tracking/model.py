"""û as a logged model that scores one set of n images, n free: an exported graph, nothing pickled."""

from collections.abc import Mapping
from typing import Any

from cluster.tracking.entries import Entry
from cluster.tracking.names import model_name
from cluster.tracking.server import writing_to

EXAMPLE_IMAGES = 4
"""Images in a logged model's input example; the model takes any number."""

EXAMPLE = """```python
import mlflow

mlflow.set_tracking_uri("…")  # where this page is from
model = mlflow.pyfunc.load_model("models:/{model_id}")
score = model.predict(images)  # NumPy, {dtype} {shape}
```"""


def log_utility_model(
    client: Any, uri: str, run_id: str, entry: Entry, description: Mapping[str, Any], weights: bytes
) -> None:
    """Log the û that a trial has left, as its run's model; raises `InvalidInput` where its files are spoilt."""
    import mlflow
    import numpy as np
    import torch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    from rambo.utility.kinds import load_utility_model
    from rambo.utility.serving import Served

    served = Served.of(load_utility_model(description, weights), description)
    example = served.example(EXAMPLE_IMAGES)
    inputs = Schema([TensorSpec(example.dtype, (-1, *example.shape[1:]), name=None)])
    signature = ModelSignature(inputs, Schema([TensorSpec(np.dtype(np.float32), (-1,), name=None)]))
    with writing_to(uri), mlflow.start_run(run_id=run_id):
        logged = mlflow.pytorch.log_model(
            served.module.eval(),
            name=model_name(f"û {entry.name}"),
            signature=signature,
            input_example=example,
            pip_requirements=[f"torch=={torch.__version__.split('+')[0]}", f"numpy=={np.__version__}"],
            params={name: entry.tags[name] for name in ("cell", "seed", "number") if name in entry.tags},
            metadata=served.metadata,
        )
    shape = str(("n", *example.shape[1:])).replace("'", "")
    code = EXAMPLE.format(model_id=logged.model_id, dtype=example.dtype, shape=shape)
    note = f"The utility model û that the trial *{entry.name}* has learned. {served.about}\n\n{code}"
    client.set_logged_model_tags(logged.model_id, {"mlflow.note.content": note})
