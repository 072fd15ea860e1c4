"""The fast operators of video anomaly detection, usable alone: ``from vadfast_kernels import ops``.

Importing this package loads neither torch nor triton; the first use of an operator loads what that operator needs.
"""

from vadfast_kernels._op import BackendError, Verdict

# Operator -> the module that holds the function of the same name.
OPERATORS = {
    "attention_loss": "vadfast_kernels.attention_loss.op",
    "attention_map": "vadfast_kernels.attention_map.op",
    "cluster_distance": "vadfast_kernels.cluster_distance.op",
    "criss_cross_attention": "vadfast_kernels.criss_cross_attention.op",
    "frame_score": "vadfast_kernels.frame_score.op",
    "mutual_cosine_embedding": "vadfast_kernels.mutual_cosine_embedding.op",
    "patch_max_loss": "vadfast_kernels.patch_max_loss.op",
    "preprocess": "vadfast_kernels.preprocess.op",
    "prototype_attention": "vadfast_kernels.prototype_attention.op",
    "sta_attention": "vadfast_kernels.sta_attention.op",
    "variance_attention": "vadfast_kernels.variance_attention.op",
}

__all__ = ["OPERATORS", "BackendError", "Verdict"]
