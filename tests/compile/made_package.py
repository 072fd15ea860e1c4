"""An installed package made of a few files: metadata and a list of files, as an installer leaves them."""

import base64
import hashlib
from pathlib import Path


def install(
    site: Path, name: str, *, files: dict[str, bytes], headers: str = "", version: str = "1.0"
) -> None:
    """Writes ``files`` (by their path in the package) into ``site``, with the metadata ``headers``."""
    info = f"{name}-{version}.dist-info"
    about = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{headers}"
    files = {**files, f"{info}/METADATA": about.encode()}
    lines = []
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(content)}")
    (site / info / "RECORD").write_text("\n".join([*lines, f"{info}/RECORD,,"]) + "\n")
