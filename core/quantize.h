/*
 * quantize.h: matrices that are stored in a few bits a number, for weights that are read and not trained.
 *
 * The numbers of a matrix, row after row, are cut into blocks of QUANTIZED_BLOCK; the last may have fewer. Each block keeps
 * its largest absolute value, absmax, in f32, and each number a code:
 *
 *   DTYPE_INT8   code = x * (127 / absmax) to the nearest whole number, ties to even, one byte;
 *                value = code * absmax * (1 / 127)
 *   DTYPE_NF4    (Dettmers et al. 2023, "QLoRA", appendix E) code = the place in NF4_VALUES of what is nearest to
 *                x * (1 / absmax), of two that are equally near the lower; two codes a byte, the first in its high half;
 *                value = NF4_VALUES[code] * absmax
 *
 * as bitsandbytes computes them, in f32. A block of zeros stays zeros, and one whose absmax is below 4e-37 becomes zeros in
 * int8; a number that is not finite cannot be stored. With its share of an absmax a number takes 1.0625 bytes in int8 and
 * 0.5625 in nf4.
 *
 * A tensor of these types is a matrix by its shape. Its data are the codes and, from the next multiple of
 * QUANTIZED_ALIGNMENT bytes, the blocks' absmax; tensor_bytes() counts both. op_dequantize() (ops.h) reads it.
 */
#ifndef IDREC_CORE_QUANTIZE_H
#define IDREC_CORE_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/tensor.h"

enum { QUANTIZED_BLOCK = 64, QUANTIZED_ALIGNMENT = 16, NF4_COUNT = 16 };

/* Quantiles of the normal distribution, scaled to -1 .. 1, with an exact 0. */
extern const float NF4_VALUES[NF4_COUNT];

bool dtype_is_quantized(enum dtype dtype);
int64_t quantized_blocks(int64_t count);
/* Bytes before the blocks' absmax, and bytes in all, of `count` numbers. */
size_t quantized_code_bytes(enum dtype dtype, int64_t count);
size_t quantized_bytes(enum dtype dtype, int64_t count);

/* Quantises the numbers of a matrix into host memory [tensor_bytes(tensor)], as tensor->data is to hold them. */
bool quantize(void *stored, const struct tensor *tensor, const real *values, int threads,
              struct error *error);

#endif
