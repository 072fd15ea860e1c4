"""What the papers print, frame AUC in percent (per-video min-max, pooled), by method, data set and row."""

# A row may be printed for one data set only.
PUBLISHED: dict[tuple[str, str], dict[str, float]] = {
    # Tables II, III, IV and V.
    ("adl", "ped2"): {
        "full": 96.0,
        "baseline": 95.2,
        "human-map": 94.7,
        "l_cl": 83.3,
        "l_acl": 86.2,
        "l_acl+l_gd": 87.5,
        "l_acl+l_agd": 89.0,
        "conv-ae": 85.0,
        "conv-ae+adl": 87.2,
        "convlstm-ae": 88.1,
        "convlstm-ae+adl": 90.3,
        "background-0": 92.0,
        "background-0.1": 96.0,
        "background-0.2": 95.2,
        "background-0.3": 94.0,
        "background-0.4": 93.5,
    },
    ("adl", "ped1"): {
        "full": 83.9,
        "baseline": 83.1,
        "human-map": 83.6,
        "l_cl": 74.6,
        "l_acl": 77.1,
        "l_acl+l_gd": 77.6,
        "l_acl+l_agd": 79.2,
        "conv-ae": 75.0,
        "conv-ae+adl": 77.1,
        "convlstm-ae": 75.5,
        "convlstm-ae+adl": 76.8,
    },
    ("adl", "avenue"): {
        "full": 86.0,
        "baseline": 85.0,
        "human-map": 85.3,
        "l_cl": 82.0,
        "l_acl": 83.5,
        "l_acl+l_gd": 84.0,
        "l_acl+l_agd": 84.7,
        "conv-ae": 80.0,
        "conv-ae+adl": 82.5,
        "convlstm-ae": 77.0,
        "convlstm-ae+adl": 78.6,
    },
    # Its FP, FR and both; and the number of prototypes.
    ("apn", "ped2"): {
        "full": 98.2,
        "full@psnr": 93.6,
        "full@feature_psnr": 95.6,
        "ae": 95.6,
        "prototypes-1": 95.24,
        "prototypes-5": 95.57,
        "prototypes-10": 98.20,
        "prototypes-20": 96.43,
        "prototypes-40": 95.74,
    },
    ("apn", "ped1"): {"full": 87.2, "full@psnr": 85.5, "full@feature_psnr": 75.1, "ae": 84.3},
    ("apn", "avenue"): {"full": 88.7, "full@psnr": 86.2, "full@feature_psnr": 87.5, "ae": 84.9},
    ("apn", "shanghaitech"): {
        "full": 77.5,
        "full@psnr": 75.1,
        "full@feature_psnr": 75.9,
        "ae": 67.8,
    },
    # Its parts, and the number of clusters.
    ("std", "ped2"): {
        "full": 96.7,
        "appearance": 91.1,
        "motion": 94.2,
        "both": 94.7,
        "both+va": 95.1,
        "both+k-means": 95.9,
        "clusters-4": 95.2,
        "clusters-8": 95.5,
        "clusters-16": 96.0,
        "clusters-32": 96.7,
        "clusters-64": 96.4,
    },
    # Its tasks, and the motion branch without attention. Whether its AUC is pooled is not said.
    ("mtl", "shanghaitech"): {
        "full": 89.1,
        "seg": 76.3,
        "ofm": 79.19,
        "seg-pred": 80.61,
        "seg-ofm": 88.21,
        "unet": 69.7,
        "attention-skip": 72.07,
        "attention-encoder": 77.91,
        "attention-decoder": 78.14,
        "attention-final": 77.52,
    },
    ("mtl", "ped2"): {"full": 97.8},
    # AUC over all frames of I3D features, and without mutual cosine embedding, with Sultani's head, with neither.
    ("sta", "ucf-crime"): {"full": 83.0, "no-mce": 79.8, "fc": 82.2, "fc-no-mce": 79.4},
    ("std", "avenue"): {"full": 87.1},
    ("std", "shanghaitech"): {"full": 73.7},
}


def published(method: str, dataset: str, row: str) -> float | None:
    """The printed number of a row, in percent; None where the paper has none."""
    return PUBLISHED.get((method, dataset), {}).get(row)
