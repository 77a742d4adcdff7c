/*
 * cpu.h: the CPU backend: its operators, and what they share.
 *
 * Loops run in parallel over rows, heads or fixed blocks, never over a partition that depends on the number
 * of threads, so results do not depend on it either.
 */
#ifndef IDREC_CORE_CPU_CPU_H
#define IDREC_CORE_CPU_CPU_H

#include "core/operators.h"

#define DECLARE_OPERATOR(name) __typeof__(op_##name) cpu_##name;
OPERATORS(DECLARE_OPERATOR)
#undef DECLARE_OPERATOR

/* Below this many elements a parallel region costs more than it saves. */
#define PARALLEL_MINIMUM 16384

struct backend *cpu_backend_open(int threads, struct error *error);

/* Scratch of one operator call, 64-byte aligned; the next call may overwrite it. NULL after recording the
 * backend's error. */
void *cpu_workspace(struct backend *backend, size_t bytes);

/* Whether OpenBLAS can be trusted with op_gemm's promise about rows. */
bool cpu_library_rows_are_independent(const struct backend *backend);

static inline int64_t minimum_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t round_up(int64_t value, int64_t multiple)
{
    return (value + multiple - 1) / multiple * multiple;
}

#endif
