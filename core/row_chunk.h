/*
 * row_chunk.h: the rows of a piece of a file, with ids numbered within the piece. Pieces are read
 * independently of each other and merged in file order, so that ids are numbered by first appearance whatever
 * read them.
 */
#ifndef IDREC_CORE_ROW_CHUNK_H
#define IDREC_CORE_ROW_CHUNK_H

#include "core/id_table.h"
#include "core/text_layout.h"
#include "core/text_source.h"

#define ID_LENGTH_MAX 4096 /* bytes: a longer id means a wrong separator or a file that is not text */

struct row_chunk {
    const char *begin, *end; /* whole lines of a text source */
    struct id_table users, items;
    int64_t count, capacity;
    int32_t *user, *item;
    float *rating; /* kept when has_rating */
    int64_t *time; /* kept when has_time */
    bool has_rating, has_time;
    const char *bad_line; /* what `message` is about: a position in the text */
    char message[512];    /* empty: the chunk is sound */
};

/* Reads begin .. end. Returns false with message set at the first malformed line. */
bool row_chunk_parse(struct row_chunk *chunk, const struct text_layout *layout);
/* Appends a row of already numbered ids; false: out of memory, message is set. */
bool row_chunk_append(struct row_chunk *chunk, int32_t user, int32_t item, float rating, int64_t time);
void row_chunk_free(struct row_chunk *chunk);

/* Reads an HDF5 file: a dataset.h5 (its train part), or columns /user and /item with optional /rating,
 * /time. */
bool row_chunk_read_hdf5(struct row_chunk *chunk, const char *path, struct error *error);

/* A decimal number that fills text[0 .. length - 1]; false when it is none, or not finite. */
bool parse_number(const char *text, size_t length, double *value);
/* The same as whole seconds, fractions dropped downwards. */
bool parse_time(const char *text, size_t length, int64_t *value);

#endif
