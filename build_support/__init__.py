"""What setup.py, the Makefile, tests and benchmarks share to get, build and describe the native code.

Runs before anything is installed: the standard library only, except for cmake, ninja and cffi in `native`.
"""
