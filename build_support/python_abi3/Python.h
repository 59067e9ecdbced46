/*
 * What CFFI's wrapper uses of CPython's stable ABI, for machines without Python's own headers (python3-dev).
 *
 * The stable ABI promises these signatures, names and the layout of PyMethodDef for every CPython 3 with a GIL, which is
 * why they may be declared here. Reference counts go through functions, as they do in Python's own limited API since 3.12.
 * Something missing shows as a compile error: add it from https://docs.python.org/3/c-api/stable.html.
 */
#ifndef HOSHIKAGE_PYTHON_ABI3_H
#define HOSHIKAGE_PYTHON_ABI3_H

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PY_VERSION_HEX Py_LIMITED_API
#define PY_MAJOR_VERSION 3
#define PyMODINIT_FUNC __attribute__((visibility("default"))) PyObject *

typedef ssize_t Py_ssize_t;
typedef struct _object PyObject;
typedef struct _typeobject PyTypeObject;
typedef struct _ts PyThreadState;
typedef PyObject *(*PyCFunction)(PyObject *, PyObject *);

typedef struct PyMethodDef {
    const char *ml_name;
    PyCFunction ml_meth;
    int ml_flags;
    const char *ml_doc;
} PyMethodDef;

#define METH_VARARGS 0x0001
#define METH_NOARGS 0x0004
#define METH_O 0x0008

extern PyObject _Py_NoneStruct;
#define Py_None (&_Py_NoneStruct)

void Py_IncRef(PyObject *);
void Py_DecRef(PyObject *);
#define Py_INCREF(object) Py_IncRef((PyObject *)(object))
#define Py_DECREF(object) Py_DecRef((PyObject *)(object))
#define Py_XINCREF(object) Py_IncRef((PyObject *)(object))
#define Py_XDECREF(object) Py_DecRef((PyObject *)(object))

PyThreadState *PyEval_SaveThread(void);
void PyEval_RestoreThread(PyThreadState *);
#define Py_BEGIN_ALLOW_THREADS { PyThreadState *_save = PyEval_SaveThread();
#define Py_END_ALLOW_THREADS PyEval_RestoreThread(_save); }

void Py_FatalError(const char *message) __attribute__((noreturn));
PyObject *PyErr_Occurred(void);
int PyArg_UnpackTuple(PyObject *, const char *, Py_ssize_t, Py_ssize_t, ...);
PyObject *PyObject_CallMethod(PyObject *, const char *, const char *, ...);
PyObject *PyImport_ImportModule(const char *);
void *PyObject_Malloc(size_t);
void PyObject_Free(void *);

PyObject *PyBool_FromLong(long);
PyObject *PyLong_FromLong(long);
PyObject *PyLong_FromUnsignedLong(unsigned long);
PyObject *PyLong_FromLongLong(long long);
PyObject *PyLong_FromUnsignedLongLong(unsigned long long);
PyObject *PyLong_FromVoidPtr(void *);
PyObject *PyFloat_FromDouble(double);
double PyFloat_AsDouble(PyObject *);

#ifdef __cplusplus
}
#endif

#endif
