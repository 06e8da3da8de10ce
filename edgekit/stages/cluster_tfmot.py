"""Weight clustering by TensorFlow's optimisation toolkit: the weights of a matrix share few values, which are trained.

Han, Mao & Dally 2016, arXiv:1510.00149, section 3. The encoder layers' matrices are clustered; the token vectors, the
pooler and the classifier are not. Matrices that are sparse stay so: zero is one of their values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..artifact import Artifact, Job, Outcome
from ..errors import StageError
from ..shape import Shape
from ..steps import Cluster

ACCEPTS = "keras"
PRODUCES = "keras"
USES = ("tensorflow", "tf_keras", "tensorflow-model-optimization", "safetensors", "tokenizers")
EXTRA = "tflite"

#: A matrix with this share of zeros is a sparse one.
SPARSE_FROM = 0.05


class Options(Cluster):
    """The recipe's step, and what the texts are cut to."""

    max_tokens: Annotated[int, Field(ge=1, description="longest text, in tokens")]


def run(source: Artifact, options: Options, job: Job) -> Outcome:
    """Cluster the encoder layers' weights, train their values with the distillation loss, keep the best step.

    Raises StageError where a matrix ends with more values than asked for, or with fewer zeros than it had.
    """
    from .keras.training import Trainer, prepare
    from .keras.twin import load_twin, save_twin
    from .sparsify_tfmot import deflated_bytes, share_of_zeros, sparse_layers
    from .text.splits import read_split
    from .text.tokens import load_tokenizer

    prepare(job.seed)
    tokenizer = load_tokenizer(source.path / "tokenizer.json", options.max_tokens)
    splits = read_split(job, tokenizer, "train"), read_split(job, tokenizer, "validation")
    twin, shape = load_twin(source.path)
    bytes_before, zeros_before = deflated_bytes(twin), share_of_zeros(twin)
    model, settle = _in_wrappers(twin, shape, options)
    result = Trainer(model, twin, splits, options, job, shape.pad_id, settle).run()
    most = max(len(np.unique(layer.kernel.numpy())) for layer in sparse_layers(twin))
    zeros = share_of_zeros(twin)
    if most > options.clusters or (zeros_before >= SPARSE_FROM and zeros < zeros_before):
        found = f"a matrix has {most} values and {zeros:.4f} of the weights are zero"
        raise StageError(f"cluster: {found}; asked for {options.clusters} values, and {zeros_before:.4f} were zero")
    save_twin(twin, shape, job.work, source.path / "tokenizer.json")
    return Outcome(
        metrics={
            "clusters": options.clusters,
            "sparsity": zeros,
            f"validation_{splits[1].metric}_untrained": result.start_score,
            f"validation_{splits[1].metric}": result.best_score,
            "steps": result.step,
            "best_step": result.best_step,
            "int8_deflated_bytes_before": bytes_before,
            "int8_deflated_bytes": deflated_bytes(twin, per_channel=False),
        },
        notes=("weights that share values shrink the compressed bundle; the runtime's latency stays as it was",),
    )


def _in_wrappers(twin: Any, shape: Shape, options: Options) -> tuple[Any, Callable[[], None]]:
    """A copy of the twin in the toolkit's clustering wrappers, and what brings the clustered weights back."""
    from tensorflow_model_optimization.clustering import keras as toolkit

    from .int8.static_ranges import copy_weights
    from .keras.framework import import_keras
    from .keras.twin import build_twin, weight_names
    from .sparsify_tfmot import sparse_layers

    _, keras = import_keras()
    copy = copy_weights(twin, build_twin(shape, twin.get_layer("position").input_dim))
    variables = weight_names(copy)  # before the wrappers put tensors in the kernels' place
    chosen = {layer.name for layer in sparse_layers(copy)}
    starts = toolkit.CentroidInitialization
    init = {"kmeans++": starts.KMEANS_PLUS_PLUS, "linear": starts.LINEAR}[options.init]

    def wrap(layer: Any) -> Any:
        if layer.name not in chosen:
            return layer
        sparse = float((layer.kernel.numpy() == 0).mean()) >= SPARSE_FROM
        return toolkit.cluster_weights(layer, options.clusters, init, preserve_sparsity=sparse)

    model = keras.models.clone_model(copy, clone_function=wrap)
    wrappers = [layer for layer in model.layers if hasattr(layer, "clustering_algorithms")]
    for wrapper in wrappers:
        algorithm = wrapper.clustering_algorithms["kernel"]
        algorithm.get_pulling_indices = _nearest(algorithm.cluster_centroids)

    def settle() -> None:
        for name, own in weight_names(twin).items():
            own.assign(variables[name])
        for wrapper in wrappers:
            twin.get_layer(wrapper.layer.name).kernel.assign(_clustered(wrapper))

    return model, settle


def _clustered(wrapper: Any) -> Any:
    """A wrapped layer's weights as the wrapper computes with them: each has the value that is nearest to it."""
    wrapper.update_clustered_weights_associations()
    return wrapper.layer.kernel


def _nearest(centroids: Any) -> Callable[[Any], Any]:
    """The number of the centroid that is nearest to each weight: the toolkit's own answer, without all differences.

    It would hold a number for each weight and centroid at a time: 150 MB for one matrix of 1536 x 384 and 64 clusters.
    """
    from .keras.framework import import_keras

    tf, _ = import_keras()

    def find(weight: Any) -> Any:
        order = tf.argsort(centroids)
        ascending = tf.gather(centroids, order)
        between = (ascending[1:] + ascending[:-1]) / 2
        places = tf.searchsorted(between, tf.reshape(weight, [-1]))
        return tf.cast(tf.reshape(tf.gather(order, places), tf.shape(weight)), tf.int64)

    return find
