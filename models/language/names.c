#include "models/language/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/random.h"

enum { NAME_BYTES = 16, LETTERS = 26 }; /* of a name that is not raw, with its NUL */

/* 26^RANDOM_NAME_LETTERS */
static uint32_t random_names(void)
{
    uint32_t count = 1;
    for (int letter = 0; letter < RANDOM_NAME_LETTERS; letter++)
        count *= LETTERS;
    return count;
}

enum name_kind name_kind_of(const char *word)
{
    return strcmp(word, "raw") == 0          ? NAMES_RAW
           : strcmp(word, "relabelled") == 0 ? NAMES_RELABELLED
           : strcmp(word, "random") == 0     ? NAMES_RANDOM
                                             : NAMES_INDEX;
}

static void write_letters(char *text, uint32_t number)
{
    for (int letter = RANDOM_NAME_LETTERS - 1; letter >= 0; letter--) {
        text[letter] = (char)('a' + number % LETTERS);
        number /= LETTERS;
    }
    text[RANDOM_NAME_LETTERS] = '\0';
}

/* The bytes of `raw`; for the other kinds NAME_BYTES a name suffice. */
static bool allocate(struct id_map *names, const struct id_map *raw, enum name_kind kind, struct error *error)
{
    const size_t count = (size_t)raw->count;
    const size_t bytes = kind == NAMES_RAW ? (size_t)raw->offsets[count] : count * NAME_BYTES;
    *names = (struct id_map){.count = raw->count,
                             .offsets = malloc((count + 1) * sizeof *names->offsets),
                             .bytes = malloc(bytes + 1)};
    if (names->offsets && names->bytes)
        return true;
    id_map_free(names);
    return error_memory(error, "names", (count + 1) * sizeof *names->offsets + bytes, NULL);
}

static void copy_raw(struct id_map *names, const struct id_map *raw)
{
    memcpy(names->offsets, raw->offsets, (size_t)(raw->count + 1) * sizeof *names->offsets);
    memcpy(names->bytes, raw->bytes, (size_t)raw->offsets[raw->count]);
}

/* The names as permutation[0 .. count - 1], which is of `range` numbers; the order itself for NAMES_INDEX. */
static void write_numbers(struct id_map *names, enum name_kind kind, struct random_stream stream)
{
    const uint32_t range = kind == NAMES_RANDOM ? random_names() : (uint32_t)names->count;
    const struct random_permutation permutation = random_permutation_open(&stream, range);
    names->offsets[0] = 0;
    for (int64_t index = 0; index < names->count; index++) {
        char *text = names->bytes + names->offsets[index];
        const uint32_t place = (uint32_t)index;
        const uint32_t number = kind == NAMES_INDEX ? place : random_permutation_at(&permutation, place);
        if (kind == NAMES_RANDOM)
            write_letters(text, number);
        else
            snprintf(text, NAME_BYTES, "%u", number);
        names->offsets[index + 1] = names->offsets[index] + (int64_t)strlen(text) + 1;
    }
}

bool names_create(struct id_map *names, enum name_kind kind, enum named named, const struct id_map *raw,
                  uint64_t seed, struct error *error)
{
    *names = (struct id_map){0};
    if (kind == NAMES_RANDOM && raw->count > (int64_t)random_names())
        return error_set(
            error, ERROR_USAGE,
            "language_model.names: there are %u random names, too few for %lld ids; choose another",
            random_names(), (long long)raw->count);
    if (!allocate(names, raw, kind, error))
        return false;
    if (kind == NAMES_RAW)
        copy_raw(names, raw);
    else if (raw->count > 0)
        write_numbers(names, kind, random_stream_open(seed, RANDOM_NAME, 0, (uint64_t)named));
    else
        names->offsets[0] = 0;
    return true;
}
