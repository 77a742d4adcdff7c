#include "models/language/tokenizer_table.h"

#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct token_string {
    size_t place, length;
    int32_t id;
};

struct token_slot {
    uint32_t tag;    /* bits of the hash */
    uint32_t number; /* the string's index + 1; 0: empty */
};

bool token_table_create(struct token_table *table, int64_t count, size_t bytes, struct error *error)
{
    size_t slots = 16;
    while (slots < 2 * (size_t)count)
        slots *= 2;
    *table = (struct token_table){
        .capacity = count, .byte_capacity = bytes + (size_t)count, .slot_mask = slots - 1};
    table->strings = calloc((size_t)count + 1, sizeof *table->strings);
    table->bytes = malloc(table->byte_capacity + 1);
    table->slots = calloc(slots, sizeof *table->slots);
    if (table->strings && table->bytes && table->slots)
        return true;
    token_table_free(table);
    return error_memory(
        error, "the tokens' strings",
        table->byte_capacity + (size_t)count * sizeof *table->strings + slots * sizeof *table->slots, NULL);
}

void token_table_free(struct token_table *table)
{
    free(table->strings);
    free(table->bytes);
    free(table->slots);
    *table = (struct token_table){0};
}

const char *token_table_add(struct token_table *table, const char *bytes, size_t length, int32_t id)
{
    const uint64_t hash = XXH3_64bits(bytes, length);
    char *copy = table->bytes + table->byte_count;
    table->strings[table->count++] =
        (struct token_string){.place = table->byte_count, .length = length, .id = id};
    memcpy(copy, bytes, length);
    copy[length] = '\0';
    table->byte_count += length + 1;
    size_t slot = hash & table->slot_mask;
    while (table->slots[slot].number)
        slot = (slot + 1) & table->slot_mask;
    table->slots[slot] = (struct token_slot){.tag = (uint32_t)(hash >> 32), .number = (uint32_t)table->count};
    return copy;
}

const char *token_table_at(const struct token_table *table, int64_t index, size_t *length, int32_t *id)
{
    const struct token_string *const string = &table->strings[index];
    *length = string->length;
    *id = string->id;
    return table->bytes + string->place;
}

int32_t token_table_find(const struct token_table *table, const char *bytes, size_t length)
{
    const uint64_t hash = XXH3_64bits(bytes, length);
    for (size_t slot = hash & table->slot_mask; table->slots[slot].number;
         slot = (slot + 1) & table->slot_mask) {
        if (table->slots[slot].tag != (uint32_t)(hash >> 32))
            continue;
        const struct token_string *const string = &table->strings[table->slots[slot].number - 1];
        if (string->length == length && memcmp(table->bytes + string->place, bytes, length) == 0)
            return string->id;
    }
    return -1;
}
