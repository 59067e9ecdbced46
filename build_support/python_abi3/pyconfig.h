/* CFFI asks this file about debug builds and builds without a GIL; our Python.h is for neither. */
