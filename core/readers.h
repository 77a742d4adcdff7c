/*
 * readers.h: interactions from the file formats of the field (docs/data-formats.md describes each). Text may
 * be gzip'ed. Text is read in parallel pieces; the result does not depend on the number of threads.
 *
 * A malformed line is an error with file, line, what is wrong and what to do: nothing is skipped silently.
 */
#ifndef IDREC_CORE_READERS_H
#define IDREC_CORE_READERS_H

#include <stddef.h>

#include "core/interactions.h"

struct reader_settings {
    const char *format; /* auto recbole csv tsv movielens adjacency sequence selfrec hdf5 */
    /* csv and tsv: a column's number from 0 or its name in the header line; NULL: not given. Where neither
     * user nor item is given, well-known header names are looked for (user_id, userId, movieId, timestamp,
     * ...). */
    const char *user_column, *item_column, *rating_column, *time_column;
};

#define READER_DESCRIPTION_LENGTH 160
#define READER_PATHS_MAX 3

/* Reads the files one after the other as if they were one. first_rows [path_count + 1] (or NULL) gets the row
 * at which each file starts; description (or NULL) what the first file was taken for. */
bool interactions_read(struct interactions *interactions, const char *const *paths, int path_count,
                       const struct reader_settings *settings, int64_t *first_rows,
                       char description[READER_DESCRIPTION_LENGTH], struct error *error);

/* Text in memory, gzip'ed or not; `name` stands for the path in messages. */
bool interactions_read_text(struct interactions *interactions, const char *name, const void *bytes,
                            size_t length, const struct reader_settings *settings,
                            char description[READER_DESCRIPTION_LENGTH], struct error *error);

#endif
