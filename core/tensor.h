/*
 * tensor.h: a view of an array: its address, element type, shape and the device that holds it.
 *
 * A tensor owns nothing; arenas own memory. Row-major, contiguous, at most 4 dimensions.
 */
#ifndef IDREC_CORE_TENSOR_H
#define IDREC_CORE_TENSOR_H

#include <stddef.h>
#include <stdint.h>

/* The type in which the CPU operators compute. The build for finite differences sets it to double. */
#ifdef IDREC_REAL_DOUBLE
typedef double real;
#define DTYPE_REAL DTYPE_F64
#else
typedef float real;
#define DTYPE_REAL DTYPE_F32
#endif

/* The last two are matrices of read-only weights: see quantize.h. */
enum dtype { DTYPE_F32, DTYPE_F64, DTYPE_BF16, DTYPE_I32, DTYPE_I64, DTYPE_U32, DTYPE_INT8, DTYPE_NF4 };
enum device_kind { DEVICE_CPU, DEVICE_CUDA };

#define TENSOR_RANK_MAX 4

struct tensor {
    void *data;
    enum dtype dtype;
    enum device_kind device;
    int rank;
    int64_t shape[TENSOR_RANK_MAX];
};

size_t dtype_size(enum dtype dtype); /* of an element; 0 for quantised types, whose elements share bytes */
const char *dtype_name(enum dtype dtype);

int64_t tensor_count(const struct tensor *tensor); /* elements */
size_t tensor_bytes(const struct tensor *tensor);

/* A view of `data` on `device`. */
struct tensor tensor_1d(void *data, enum dtype dtype, enum device_kind device, int64_t length);
struct tensor tensor_2d(void *data, enum dtype dtype, enum device_kind device, int64_t rows, int64_t columns);

/* Rows first .. first + count - 1 of a tensor of rank 1 or 2, as a view; not of a quantised one. */
struct tensor tensor_rows(const struct tensor *tensor, int64_t first, int64_t count);

#endif
