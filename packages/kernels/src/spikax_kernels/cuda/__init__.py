"""CUDA kernels: compiled by NVRTC when they are first needed, kept on disk, launched by the native library."""
