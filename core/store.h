/*
 * store.h: HDF5 files, written whole or not at all.
 *
 * A store is written to a temporary name beside its place and renamed by store_commit(). Arrays are chunked
 * and compressed. Reading checks type, rank and length; every message names file and data set.
 */
#ifndef IDREC_CORE_STORE_H
#define IDREC_CORE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/interactions.h"
#include "core/tensor.h"

struct store;

/* Whether several threads may work at a time, each on stores of its own: HDF5 can be built without. */
bool store_is_thread_safe(void);

bool store_create(struct store **store, const char *path, struct error *error);
/* The same for what memory should not hold: arrays go to the temporary file as they are written. `bytes` of disk are
 * reserved first, so that a full disk is told before anything is computed. */
bool store_create_large(struct store **store, const char *path, int64_t bytes, struct error *error);
bool store_open(struct store **store, const char *path, struct error *error); /* for reading */
/* Flushes, closes and renames to the final place; frees the store. On failure nothing is left behind. */
bool store_commit(struct store *store, struct error *error);
/* Closes without keeping what was being written (reading: just closes); frees the store. NULL is fine. */
void store_close(struct store *store);

/* Missing groups of the name are created. rank 1 or 2; columns is 0 for rank 1. */
bool store_write(struct store *store, const char *name, enum dtype dtype, int64_t rows, int64_t columns,
                 const void *data, struct error *error);
/* Rows first .. first + count - 1 of a matrix of `rows` x `columns`, which the call with first 0 creates, not compressed. */
bool store_write_rows(struct store *store, const char *name, enum dtype dtype, int64_t rows, int64_t columns,
                      int64_t first, int64_t count, const void *data, struct error *error);
/* Allocates *data with malloc. columns 0: rank 1 is expected; otherwise rank 2 with *columns set. */
bool store_read(struct store *store, const char *name, enum dtype dtype, int64_t *rows, int64_t *columns,
                void **data, struct error *error);
bool store_has(struct store *store, const char *name);

bool store_write_ids(struct store *store, const char *name, const struct id_map *ids, struct error *error);
bool store_read_ids(struct store *store, const char *name, struct id_map *ids, struct error *error);

/* A CSR matrix as group NAME with indptr (i64), indices (i32) and attributes rows, columns. Reading checks
 * that indptr ascends from 0 and that every index is in range. */
bool store_write_csr(struct store *store, const char *name, const struct csr *matrix, struct error *error);
bool store_read_csr(struct store *store, const char *name, struct csr *matrix, struct error *error);

/* Attributes of an object ("/" for the file). */
bool store_has_attribute(struct store *store, const char *object, const char *name);
bool store_set_integer(struct store *store, const char *object, const char *name, int64_t value,
                       struct error *error);
bool store_set_number(struct store *store, const char *object, const char *name, double value,
                      struct error *error);
bool store_set_string(struct store *store, const char *object, const char *name, const char *value,
                      struct error *error);
bool store_get_integer(struct store *store, const char *object, const char *name, int64_t *value,
                       struct error *error);
bool store_get_number(struct store *store, const char *object, const char *name, double *value,
                      struct error *error);
bool store_get_string(struct store *store, const char *object, const char *name, char **value,
                      struct error *error);

#endif
