/*
 * device_sizes.h: sizes of operator_cases.h's families that fill a GPU: those of an 8B language model on packed rows of
 * 2,048 tokens, of a 512-wide one over 41,000 items, and of recommenders on gowalla, sequences of 200 items among them. Operands are several times the
 * second-level cache.
 */
#ifndef IDREC_BENCH_DEVICE_SIZES_H
#define IDREC_BENCH_DEVICE_SIZES_H

#include "tests/operator_cases.h"

struct device_size {
    const char *family;
    enum dtype storage; /* of what may be bf16 */
    int64_t size[SIZE_NUMBERS];
};

static const struct device_size device_sizes[] = {
    {"gemm", DTYPE_BF16, {8192, 4096, 4096, 0, 0}},
    {"gemm", DTYPE_BF16, {256, 4096, 4096, 0, 1}},
    {"gemm", DTYPE_BF16, {64, 4096, 4096, 0, 1}},
    {"gemm", DTYPE_BF16, {4096, 41024, 512, 0, 1}},
    {"gemm", DTYPE_F32, {8192, 4096, 4096, 0, 1}},
    {"gemm", DTYPE_F32, {1024, 40981, 64, 0, 1}},
    {"add", DTYPE_BF16, {8192, 4096}},
    {"axpby", DTYPE_BF16, {8192, 4096}},
    {"axpby", DTYPE_F32, {70839, 64}},
    {"convert", DTYPE_F32, {8192, 4096}},
    {"dequantize", DTYPE_BF16, {14336, 4096, 0}},
    {"dequantize", DTYPE_BF16, {14336, 4096, 1}},
    {"bias", DTYPE_BF16, {8192, 4096}},
    {"linear", DTYPE_BF16, {8192, 4096, 4096, 16, 0}},
    {"linear", DTYPE_BF16, {8192, 4096, 4096, 16, 5}},
    {"columns", DTYPE_BF16, {1024, 151936, 131072, 20864}},
    {"gather", DTYPE_BF16, {16384, 512, 41024}},
    {"gather", DTYPE_F32, {6144, 64, 70839}},
    {"gather", DTYPE_F32, {1000000, 64, 70839}},
    {"rmsnorm", DTYPE_BF16, {8192, 4096}},
    {"rmsnorm", DTYPE_BF16, {16384, 512}},
    {"layernorm", DTYPE_F32, {128, 131072}},
    {"rope", DTYPE_BF16, {8192, 32, 128}},
    {"attention", DTYPE_BF16, {8192, 4, 32, 8, 128, 1}},
    {"attention", DTYPE_BF16, {16384, 78, 8, 8, 64, 1}},
    {"attention", DTYPE_F32, {25600, 128, 2, 2, 32, EQUAL_LENGTHS + BIDIRECTIONAL}},
    {"attention_decode", DTYPE_BF16, {64, 1024, 32, 8, 128}},
    {"attention_decode", DTYPE_BF16, {512, 256, 8, 8, 64}},
    {"cache_store", DTYPE_BF16, {512, 128, 1024}},
    {"swiglu", DTYPE_BF16, {8192, 4096}},
    {"activation", DTYPE_F32, {512, 131072, 1}},
    {"dropout", DTYPE_BF16, {8192, 4096}},
    {"cross_entropy", DTYPE_BF16, {1024, 41024, 41000}},
    {"cross_entropy_set", DTYPE_BF16, {1024, 41024, 41000, 20000}},
    {"sum_of_squares", DTYPE_F32, {33554432}},
    {"adamw", DTYPE_F32, {33554432}},
    {"csr_spmm", DTYPE_F32, {70839, 70839, 1620256, 64}},
    {"bpr_loss", DTYPE_F32, {2048, 29858, 40981, 64}},
    {"bpr_loss", DTYPE_F32, {100000, 29858, 40981, 64}},
    {"sample_triples", DTYPE_F32, {810128, 29858, 40981, 2048, 27}},
    {"candidate_logits", DTYPE_F32, {64, 25600, 257, 40981}},
    {"binary_cross_entropy", DTYPE_F32, {257, 25600, 1, 100}},
    {"sample_negatives", DTYPE_F32, {40981, 25600, 256, 29858, 27}},
    {"row_noise", DTYPE_F32, {64, 70839}},
    {"topk_masked", DTYPE_F32, {1024, 40981, 20, 28000}},
    {"sample", DTYPE_F32, {256, 41000, 41000, 0, 100, 1}},
    {"sample", DTYPE_F32, {256, 41000, 41000, 50, 90, 1}},
    {"sample", DTYPE_F32, {256, 41000, 41000, 0, 90, 1}},
    {"log_softmax_masked", DTYPE_F32, {256, 41000, 41000}},
};
enum { DEVICE_SIZE_COUNT = (int)(sizeof device_sizes / sizeof device_sizes[0]) };

#endif
