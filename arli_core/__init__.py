"""The lab's engine: lifelong learning with anti-retroactive interference. README.md here says where to start."""

__version__ = "0.1.0"
