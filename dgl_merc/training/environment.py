"""What a run, or a bug report, needs to know of the machine: versions, threads, devices. Not the whole environment: it holds secrets."""

from __future__ import annotations

import importlib.metadata
import locale
import os
import platform
import resource
import sys
from typing import Any

__all__ = ["describe_environment", "peak_memory", "usable_cpus"]

_PACKAGES = (
    "dglmerc",
    "torch",
    "dgl",
    "lightning-fabric",
    "lightning-utilities",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "scipy",
    "threadpoolctl",
    "joblib",
    "safetensors",
    "matplotlib",
    "tensorboard",
    "jinja2",
    "click",
    "rich",
    "packaging",
)
_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),  # of torchrun
)


def describe_environment() -> dict[str, Any]:
    """Versions and machine, as JSON; imports torch, not DGL. Memory in bytes."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "cpus_usable": usable_cpus(),
        "memory": _memory(),
        "torch_threads": torch.get_num_threads(),
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "gpus": _gpus(),
        "torch_build": _torch_build(),
        "encoding": {
            "locale": ".".join(part for part in locale.getlocale() if part) or "C",
            "text": locale.getpreferredencoding(do_setlocale=False),
            "files": sys.getfilesystemencoding(),
        },
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "versions": {name: _version(name) for name in _PACKAGES},
        "executable": sys.executable,
    }


def usable_cpus() -> int:
    """How many CPUs this process may use, where the system says so; else how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory(device: str) -> dict[str, int | None]:
    """The most memory so far, in bytes.

    Args:
        device: where a run computed.

    Returns:
        ``process``: resident, since the process began, whatever it did before (a worker of a study makes several runs); ``gpu``: that
        torch's tensors took on the device since its counter was set back; None on the CPU.
    """
    import torch

    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # Linux counts in KiB
    gpu = int(torch.cuda.max_memory_allocated(device)) if device.startswith("cuda") else None
    return {"process": process, "gpu": gpu}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _memory() -> int | None:
    """Of the machine, in bytes; a container may have less."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None


def _gpus() -> list[dict[str, Any]]:
    import torch

    found = []
    for k in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(k)
        found.append({"name": about.name, "memory": about.total_memory, "capability": f"{about.major}.{about.minor}"})
    return found


def _torch_build() -> dict[str, Any]:
    """What torch was built with, whatever is there of it."""
    import torch
    from torch import distributed

    backends = []
    if distributed.is_available():
        backends = [name for name in ("gloo", "nccl", "mpi", "ucc") if getattr(distributed, f"is_{name}_available")()]
    return {
        "cuda": torch.version.cuda,
        **{name: getattr(torch.backends, name).is_available() for name in ("mkl", "mkldnn", "openmp")},
        "distributed": backends,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
