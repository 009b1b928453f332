"""udit-bench: a comparative benchmark for deformable-instances image-to-image translation."""

__version__ = "0.1.0"
