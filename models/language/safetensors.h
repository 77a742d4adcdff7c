/*
 * safetensors.h: files of named tensors (https://github.com/huggingface/safetensors): eight bytes with the
 * length of a JSON header, little-endian, the header {"name": {"dtype", "shape", "data_offsets"}, ...}, then
 * the data.
 *
 * Files are mapped, and everything in the header is checked before a tensor is handed out: types, shapes and
 * sizes agree, and the tensors cover the data without gap or overlap.
 */
#ifndef IDREC_MODELS_LANGUAGE_SAFETENSORS_H
#define IDREC_MODELS_LANGUAGE_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/backend.h"
#include "core/error.h"
#include "core/tensor.h"

#define SAFETENSORS_RANK_MAX 8

struct safetensors;

struct safetensors_entry {
    const char *name;
    const char *type; /* "F32", "F16", "BF16", "F64", "I64", ... */
    int rank;
    int64_t shape[SAFETENSORS_RANK_MAX];
    int64_t count;    /* elements */
    const void *data; /* at any alignment */
    size_t bytes;
};

bool safetensors_open(struct safetensors **file, const char *path, struct error *error);
/* The same over bytes in memory, which must outlive the result; `name` stands for the path in messages. */
bool safetensors_parse(struct safetensors **file, const char *name, const void *bytes, size_t length,
                       struct error *error);
void safetensors_close(struct safetensors *file);

/* Entries in the order of their data. */
int64_t safetensors_count(const struct safetensors *file);
const struct safetensors_entry *safetensors_at(const struct safetensors *file, int64_t index);
/* NULL when there is none of that name. */
const struct safetensors_entry *safetensors_find(const struct safetensors *file, const char *name);

/* Fails unless there is a tensor of that name, of the shape of `tensor` and of type F32, F64, F16 or BF16. */
bool safetensors_check(const struct safetensors *file, const char *name, const struct tensor *tensor,
                       struct error *error);
/* Reads a tensor that must have the shape of `tensor` (F32, F64, F16 or BF16, converted) into it, which is of DTYPE_REAL
 * or bf16. */
bool safetensors_read(const struct safetensors *file, const char *name, struct backend *backend,
                      struct tensor *tensor, struct error *error);

/* A tensor to be written: DTYPE_F32, DTYPE_F64 or DTYPE_BF16. */
struct named_tensor {
    char name[144];
    struct tensor tensor;
};
/* Writes the tensors in their order, to a temporary name that is flushed and renamed. */
bool safetensors_write(const char *path, struct backend *backend, const struct named_tensor *tensors,
                       int64_t count, struct error *error);

#endif
