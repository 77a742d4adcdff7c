#include "core/readers.h"

#include <stdlib.h>
#include <string.h>

#include "core/row_chunk.h"

#define CHUNK_BYTES_MIN (1 << 20)
#define CHUNKS_MAX 24 /* a file; more would spend more on merging the ids than they spread work */

/* Everything open while files are read. */
struct reading {
    struct text_source sources[READER_PATHS_MAX];
    struct text_layout layouts[READER_PATHS_MAX];
    int first_chunk[READER_PATHS_MAX + 1];
    struct row_chunk chunks[READER_PATHS_MAX * CHUNKS_MAX];
};

static void reading_free(struct reading *reading)
{
    for (int file = 0; file < READER_PATHS_MAX; file++)
        text_source_close(&reading->sources[file]);
    for (int chunk = 0; chunk < READER_PATHS_MAX * CHUNKS_MAX; chunk++)
        row_chunk_free(&reading->chunks[chunk]);
    free(reading);
}

/* Cuts a text into pieces of whole lines; returns how many. */
static int cut_text(struct row_chunk *chunks, const struct text_source *source, bool header)
{
    const char *end = source->text + source->length, *begin = source->text;
    if (header)
        line_end(begin, end, &begin);
    size_t piece = (size_t)(end - begin) / CHUNKS_MAX + 1;
    piece = piece < CHUNK_BYTES_MIN ? CHUNK_BYTES_MIN : piece;
    int count = 0;
    while (begin < end) {
        const char *stop = end;
        if ((size_t)(end - begin) > piece)
            line_end(begin + piece, end, &stop);
        chunks[count++] = (struct row_chunk){.begin = begin, .end = stop};
        begin = stop;
    }
    return count;
}

static bool find_failure(struct reading *reading, int file, struct error *error)
{
    const struct text_source *source = &reading->sources[file];
    for (int index = reading->first_chunk[file]; index < reading->first_chunk[file + 1]; index++) {
        const struct row_chunk *chunk = &reading->chunks[index];
        if (chunk->message[0])
            return error_at(error, ERROR_RUN, source->path,
                            chunk->bad_line ? text_source_line(source, chunk->bad_line) : 0, "%s",
                            chunk->message);
    }
    return true;
}

static bool parse_file(struct reading *reading, int file, const struct reader_settings *settings,
                       struct error *error)
{
    const struct text_source *source = &reading->sources[file];
    struct text_layout *layout = &reading->layouts[file];
    struct row_chunk *chunks = &reading->chunks[reading->first_chunk[file]];
    if (!text_layout_find(layout, source, settings, error))
        return false;
    const int count = cut_text(chunks, source, layout->header);
    reading->first_chunk[file + 1] = reading->first_chunk[file] + count;
#pragma omp parallel for schedule(dynamic, 1)
    for (int chunk = 0; chunk < count; chunk++)
        row_chunk_parse(&chunks[chunk], layout);
    return find_failure(reading, file, error);
}

static bool is_hdf5(const struct text_source *source)
{
    return source->length >= 8 && memcmp(source->text, "\x89HDF\r\n\x1a\n", 8) == 0;
}

static bool read_file(struct reading *reading, int file, const char *path,
                      const struct reader_settings *settings, struct error *error)
{
    if (!text_source_open(&reading->sources[file], path, error))
        return false;
    const bool hdf5 = is_hdf5(&reading->sources[file]);
    if (strcmp(settings->format, "hdf5") == 0 && !hdf5)
        return error_at(error, ERROR_RUN, path, 0, "not an HDF5 file; set data.format to the file's format");
    if (!hdf5)
        return parse_file(reading, file, settings, error);
    if (strcmp(settings->format, "hdf5") != 0 && strcmp(settings->format, "auto") != 0)
        return error_at(error, ERROR_RUN, path, 0, "an HDF5 file; set data.format to hdf5");
    strcpy(reading->layouts[file].description, "hdf5");
    reading->first_chunk[file + 1] = reading->first_chunk[file] + 1;
    return row_chunk_read_hdf5(&reading->chunks[reading->first_chunk[file]], path, error);
}

#define IDS_AHEAD 16

/* Adds a piece's ids to the table of all; numbers[i] becomes the number of the piece's id i. */
static bool merge_ids(struct id_table *all, const struct id_map *piece, int32_t *numbers)
{
    struct id_key keys[IDS_AHEAD];
    for (int64_t first = 0; first < piece->count; first += IDS_AHEAD) {
        const int64_t stop = first + IDS_AHEAD < piece->count ? first + IDS_AHEAD : piece->count;
        for (int64_t id = first; id < stop; id++) {
            const int64_t length = piece->offsets[id + 1] - piece->offsets[id] - 1;
            keys[id - first] = id_key_of(id_map_name(piece, id), (size_t)length);
            id_table_prefetch(all, keys[id - first]);
        }
        for (int64_t id = first; id < stop; id++) {
            const int64_t length = piece->offsets[id + 1] - piece->offsets[id] - 1;
            numbers[id] = id_table_add(all, keys[id - first], id_map_name(piece, id), (size_t)length);
            if (numbers[id] < 0)
                return false;
        }
    }
    return true;
}

static bool merge_all_ids(struct reading *reading, int chunk_count, bool items, struct id_map *map)
{
    struct id_table all = {0};
    bool done = true;
    for (int index = 0; index < chunk_count && done; index++) {
        struct row_chunk *chunk = &reading->chunks[index];
        struct id_table *table = items ? &chunk->items : &chunk->users;
        int32_t *values = items ? chunk->item : chunk->user;
        int32_t *numbers = malloc((size_t)(table->map.count + 1) * sizeof *numbers);
        done = numbers && merge_ids(&all, &table->map, numbers);
        for (int64_t row = 0; row < chunk->count && done; row++)
            values[row] = numbers[values[row]];
        free(numbers);
        id_table_free(table);
    }
    if (done)
        *map = id_table_take(&all);
    id_table_free(&all);
    return done;
}

static bool allocate_rows(struct interactions *interactions, const struct row_chunk *first,
                          struct error *error)
{
    const size_t count = (size_t)interactions->count;
    interactions->users = malloc(count * sizeof *interactions->users);
    interactions->items = malloc(count * sizeof *interactions->items);
    interactions->ratings = first->has_rating ? malloc(count * sizeof *interactions->ratings) : NULL;
    interactions->times = first->has_time ? malloc(count * sizeof *interactions->times) : NULL;
    if (!interactions->users || !interactions->items || (first->has_rating && !interactions->ratings) ||
        (first->has_time && !interactions->times))
        return error_memory(error, "the interactions", count * 20, NULL);
    return true;
}

/* Moves the rows of all pieces into one, freeing each piece as it goes. */
static void join_rows(struct interactions *interactions, struct reading *reading, int chunk_count)
{
    int64_t first = 0;
    for (int index = 0; index < chunk_count; index++) {
        struct row_chunk *chunk = &reading->chunks[index];
        const size_t count = (size_t)chunk->count;
        if (count > 0) {
            memcpy(interactions->users + first, chunk->user, count * sizeof *chunk->user);
            memcpy(interactions->items + first, chunk->item, count * sizeof *chunk->item);
        }
        if (count > 0 && chunk->has_rating)
            memcpy(interactions->ratings + first, chunk->rating, count * sizeof *chunk->rating);
        if (count > 0 && chunk->has_time)
            memcpy(interactions->times + first, chunk->time, count * sizeof *chunk->time);
        first += chunk->count;
        row_chunk_free(chunk);
    }
}

static bool check_same_columns(const struct reading *reading, int path_count, struct error *error)
{
    const struct row_chunk *first = &reading->chunks[0];
    for (int file = 1; file < path_count; file++) {
        const struct row_chunk *chunk = &reading->chunks[reading->first_chunk[file]];
        if (chunk->has_rating != first->has_rating || chunk->has_time != first->has_time)
            return error_at(error, ERROR_RUN, reading->sources[file].path, 0,
                            "its columns differ from those of %s: all parts need rating and time, or none",
                            reading->sources[0].path);
    }
    return true;
}

static bool merge(struct interactions *interactions, struct reading *reading, int path_count,
                  int64_t *first_rows, struct error *error)
{
    const int chunk_count = reading->first_chunk[path_count];
    if (!check_same_columns(reading, path_count, error))
        return false;
    for (int file = 0; file < path_count; file++) {
        const int64_t before = interactions->count;
        if (first_rows)
            first_rows[file] = before;
        for (int index = reading->first_chunk[file]; index < reading->first_chunk[file + 1]; index++)
            interactions->count += reading->chunks[index].count;
        if (interactions->count == before)
            return error_at(error, ERROR_RUN, reading->sources[file].path, 0,
                            "the file holds no interactions (read as %s)",
                            reading->layouts[file].description);
    }
    if (first_rows)
        first_rows[path_count] = interactions->count;
    if (interactions->count > INT32_MAX)
        return error_at(error, ERROR_RUN, reading->sources[0].path, 0,
                        "more than 2^31 interactions; split the file");
    bool users_done, items_done;
#pragma omp parallel sections
    {
#pragma omp section
        users_done = merge_all_ids(reading, chunk_count, false, &interactions->user_ids);
#pragma omp section
        items_done = merge_all_ids(reading, chunk_count, true, &interactions->item_ids);
    }
    if (!users_done || !items_done)
        return error_memory(error, "the ids of users and items", (size_t)interactions->count * 8, NULL);
    if (!allocate_rows(interactions, &reading->chunks[0], error))
        return false;
    join_rows(interactions, reading, chunk_count);
    return true;
}

static void copy_description(char description[READER_DESCRIPTION_LENGTH], const struct reading *reading)
{
    if (description)
        strcpy(description, reading->layouts[0].description);
}

static struct reading *reading_new(struct error *error)
{
    struct reading *reading = calloc(1, sizeof *reading);
    if (!reading)
        error_memory(error, "reading the interactions", sizeof *reading, NULL);
    return reading;
}

bool interactions_read(struct interactions *interactions, const char *const *paths, int path_count,
                       const struct reader_settings *settings, int64_t *first_rows,
                       char description[READER_DESCRIPTION_LENGTH], struct error *error)
{
    *interactions = (struct interactions){0};
    struct reading *reading = reading_new(error);
    if (!reading)
        return false;
    bool done = true;
    for (int file = 0; file < path_count && done; file++)
        done = read_file(reading, file, paths[file], settings, error);
    done = done && merge(interactions, reading, path_count, first_rows, error);
    copy_description(description, reading);
    reading_free(reading);
    if (!done)
        interactions_free(interactions);
    return done;
}

bool interactions_read_text(struct interactions *interactions, const char *name, const void *bytes,
                            size_t length, const struct reader_settings *settings,
                            char description[READER_DESCRIPTION_LENGTH], struct error *error)
{
    *interactions = (struct interactions){0};
    struct reading *reading = reading_new(error);
    if (!reading)
        return false;
    const bool done = text_source_from_memory(&reading->sources[0], name, bytes, length, error) &&
                      parse_file(reading, 0, settings, error) && merge(interactions, reading, 1, NULL, error);
    copy_description(description, reading);
    reading_free(reading);
    if (!done)
        interactions_free(interactions);
    return done;
}
