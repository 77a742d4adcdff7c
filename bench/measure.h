/*
 * measure.h: how the benches time work on a device, and what the device does at most, measured in the same call.
 */
#ifndef IDREC_BENCH_MEASURE_H
#define IDREC_BENCH_MEASURE_H

#include "core/ops.h"

/* Queues work on the backend; need not wait for it. */
typedef void measured_work(void *context);

/* Median wall seconds of one call of `work`, over as many repeats as fit into `budget` seconds, at least 3, after a
 * warm-up. Work that takes less than a millisecond is queued several times before the wait, so that a repeat measures
 * the device and neither the clock nor the launch. Errors are the backend's. */
double measure_seconds(struct backend *backend, measured_work *work, void *context, double budget);

/* Seconds of all threads together: what can still be compared on a machine that others use too. */
double processor_seconds(void);

/* The middle of `count` numbers, which it sorts. */
double median(double *values, int64_t count);

struct ceilings {
    double copy_bytes; /* bytes a second, read plus written, of a copy within the device's memory */
    double gemm_f32;   /* FLOP/s of a product of two large random square matrices */
    double gemm_bf16;  /* the same in bf16; 0 on the CPU, which has none */
};

/* `small`: sizes that take milliseconds on a CPU and say nothing about the device. */
bool ceilings_measure(struct ceilings *ceilings, struct backend *backend, bool small, struct error *error);
void ceilings_print(const struct ceilings *ceilings, const struct backend *backend);

/* A tensor [rows, columns] of normal numbers; data NULL after an error. backend->release() frees it. */
struct tensor random_matrix(struct backend *backend, enum dtype dtype, int64_t rows, int64_t columns,
                            struct error *error);

/* Takes `--device NAME`, `--threads N` and `--small` from the front of the arguments. */
struct measured_device {
    const char *name; /* "cpu" unless asked for */
    int threads;      /* 0: all */
    bool small;
};
struct measured_device measured_device_read(int *count, char ***arguments);

#endif
