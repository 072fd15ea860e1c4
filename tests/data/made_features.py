"""Small data sets of features in every layout, for tests: abnormal films have a segment that points another way."""

import json
from pathlib import Path

import numpy as np

N_FEATURES = 12


def film(rng: np.random.Generator, n: int, abnormal: bool) -> np.ndarray:
    """Snippets float32 [n, 12], non-negative; a fifth of an abnormal film has its weight on the last features."""
    snippets = rng.random((n, N_FEATURES)) * 0.2
    snippets[:, :6] += 1
    if abnormal:
        first = n // 2
        snippets[first : first + max(1, n // 5)] = np.r_[np.zeros(6), np.ones(6)] + 0.1
    return snippets.astype(np.float32)


def write_packed(root: Path, *, n: int = 12, n_segments: int = 8) -> None:
    """index.json and four arrays of ``n`` films each; the odd abnormal test films are 100 frames long."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    index: dict[str, object] = {}
    order = {}
    for split in ("train_normal", "train_anomalous", "test_normal", "test_anomalous"):
        abnormal = split.endswith("anomalous")
        films = [film(rng, n_segments, abnormal) for _ in range(n)]
        np.save(root / f"{split}.npy", np.stack(films).astype(np.float16))
        order[split] = [f"{split}-{i}" for i in range(n)]
        for name in order[split]:
            entry: dict[str, object] = {"split": split, "label": int(abnormal), "n_snippets": 20}
            if split == "test_anomalous":
                entry |= {"n_frames": 100, "frames_per_segment": 5, "intervals": [[51, 63]]}
            index[name] = entry
    index["_order"] = order
    (root / "index.json").write_text(json.dumps(index))


def write_listed(root: Path) -> None:
    """UCF-Crime's lists and annotation, and features as C3D text, I3D npy, RTFM's ten crops, and npz."""
    rng = np.random.default_rng(1)
    features = root / "features"
    features.mkdir(parents=True)
    np.savetxt(features / "Abuse001_x264_C.txt", film(rng, 32, True))
    np.save(features / "Normal_Videos001_x264.npy", film(rng, 40, False))
    crops = np.stack([film(rng, 50, True)] * 10, axis=1)
    crops += np.linspace(-1, 1, 10, dtype=np.float32)[None, :, None]  # their mean is what it was
    np.save(features / "Arson002_x264_i3d.npy", crops)
    np.savez(features / "Normal_Videos002_x264.npz", features=film(rng, 30, False), n_frames=477)
    (root / "Anomaly_Train.txt").write_text(
        "Abuse/Abuse001_x264.mp4\nTraining_Normal_Videos_Anomaly/Normal_Videos001_x264.mp4\n"
    )
    (root / "Anomaly_Test.txt").write_text(
        "Arson/Arson002_x264.mp4\nTesting_Normal_Videos_Anomaly/Normal_Videos002_x264.mp4\n"
    )
    (root / "Temporal_Anomaly_Annotation_for_Testing_Videos.txt").write_text(
        "Arson002_x264.mp4  Arson  401  560  -1  -1\nNormal_Videos002_x264.mp4  Normal  -1  -1  -1  -1\n"
    )
