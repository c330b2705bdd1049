import runpy
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

SERVING = ["grpcio-health-checking", "grpcio-reflection", "aiohttp", "prometheus-client"]

# configs/ lies beside the package for its readers and is installed inside it, as kerasner.configs.
CONFIG_PACKAGES = ["kerasner.configs"]
CONFIG_PACKAGES += [f"kerasner.configs.{name}" for name in find_packages(str(ROOT / "configs"))]

setup(
    name="kerasner",
    version=runpy.run_path(str(ROOT / "kerasner" / "_version.py"))["__version__"],
    description="Named entity recognition in Keras: raw text in, tags out, from one SavedModel",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["kerasner", "kerasner.*"]) + CONFIG_PACKAGES,
    package_dir={"kerasner.configs": "configs"},
    package_data={
        "kerasner": ["py.typed"],
        "kerasner.pretrained": ["archives/*"],
        "kerasner.serving.server": ["page/*"],
        **{name: ["*.json"] for name in CONFIG_PACKAGES},
    },
    install_requires=[
        "tensorflow>=2.15",
        "keras>=2.15",
        "numpy",
        "tensorflow-serving-api>=2.15",
    ],
    extras_require={
        # tensorflow-addons is archived: it imports only beside Keras 2, so it pins the whole stack.
        "addons": [
            "tensorflow-addons==0.23.0",
            "tensorflow==2.15.1",
            "keras==2.15.*",
            "tensorflow-serving-api==2.15.1",
        ],
        "few-shot": ["scikit-learn"],
        "serving": SERVING,
        "tensorboard": ["tensorboard"],
        "test": ["pytest", "pytest-xdist", "hypothesis", "scikit-learn", "pyyaml", *SERVING],
    },
    entry_points={"console_scripts": ["kerasner = kerasner.cli:main"]},
    classifiers=[
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Text Processing :: Linguistic",
        "Typing :: Typed",
    ],
)
