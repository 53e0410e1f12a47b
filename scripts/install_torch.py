"""Install torch without the CUDA libraries where no NVIDIA GPU would use them.

On Linux the default wheel of torch brings several gigabytes of CUDA. This is what is tried, in order,
on a Linux machine without an NVIDIA GPU; everywhere else the default wheel is the right one.

1. A CPU build ("+cpu") from wherever pip is configured to look, and from TORCH_INDEX_URL if that is set.
2. uv, which knows where CPU builds are published (``--torch-backend=cpu``).
3. The default wheel, after saying what it costs.

Run by the Makefile with the Python of the virtual environment; does nothing where torch imports already.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PINNED = Path(__file__).resolve().parent.parent / "constraints.txt"


def main() -> int:
    """Install the pinned torch, and prove that it imports."""
    if imports():
        return 0
    torch = next(line for line in PINNED.read_text("utf-8").splitlines() if line.startswith("torch=="))
    if sys.platform == "linux" and not has_nvidia():
        installed = cpu_build(torch) or default_build(torch)
    else:
        installed = run("pip", "install", torch)
    if installed and imports():
        return 0
    say(
        f"{torch} could not be installed: see above; to install a build of your own, run "
        f"'{sys.executable} -m pip install {torch}' with the options that your machine needs, then make again"
    )
    return 1


def cpu_build(torch: str) -> bool:
    """Try the places that may have a CPU build."""
    index = os.environ.get("TORCH_INDEX_URL")
    more = ("--extra-index-url", index) if index else ()
    say(f"installing {torch} without CUDA: there is no NVIDIA GPU here")
    if run("pip", "install", "--quiet", *more, f"{torch}+cpu", quiet=True):
        return True
    return run("pip", "install", "--quiet", "uv", quiet=True) and run(
        "uv", "pip", "install", "--python", sys.executable, "--torch-backend=cpu", torch
    )


def default_build(torch: str) -> bool:
    """Fall back on the default wheel."""
    say(
        "no CPU build was found, so the default one is installed, with several GB of CUDA; to avoid "
        "that, stop now, set TORCH_INDEX_URL to the package index that the PyTorch website gives for "
        "'pip, CPU', and run make again"
    )
    return run("pip", "install", torch)


def has_nvidia() -> bool:
    """Say whether an NVIDIA driver is there."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()


def imports() -> bool:
    """Say whether torch imports; a CUDA build without its libraries does not."""
    return subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode == 0


def run(module: str, *arguments: str, quiet: bool = False) -> bool:
    """Run a module of this Python; say whether it went well."""
    command = [sys.executable, "-m", module, *arguments]
    errors = subprocess.DEVNULL if quiet else None
    return subprocess.run(command, stderr=errors, stdin=subprocess.DEVNULL).returncode == 0


def say(line: str) -> None:
    """Tell the person at the terminal."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
