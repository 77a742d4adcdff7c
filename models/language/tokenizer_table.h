/* tokenizer_table.h: strings to token ids. Filled once, then read by any number of threads. */
#ifndef IDREC_MODELS_LANGUAGE_TOKENIZER_TABLE_H
#define IDREC_MODELS_LANGUAGE_TOKENIZER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct token_string;
struct token_slot;

struct token_table {
    struct token_string *strings; /* in the order in which they were added */
    int64_t count, capacity;
    char *bytes; /* of all strings, each with a NUL behind it */
    size_t byte_count, byte_capacity;
    struct token_slot *slots; /* [slot_mask + 1] */
    size_t slot_mask;
};

/* Room for `count` strings of `bytes` bytes altogether; more must not be added. */
bool token_table_create(struct token_table *table, int64_t count, size_t bytes, struct error *error);
void token_table_free(struct token_table *table);
/* The string must not be in the table. Returns the table's copy. */
const char *token_table_add(struct token_table *table, const char *bytes, size_t length, int32_t id);
/* The string at 0 <= index < count. */
const char *token_table_at(const struct token_table *table, int64_t index, size_t *length, int32_t *id);
/* -1 when it isn't there. */
int32_t token_table_find(const struct token_table *table, const char *bytes, size_t length);

#endif
