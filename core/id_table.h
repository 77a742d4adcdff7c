/* id_table.h: strings to 0 .. count - 1 in order of first appearance: a hash table that becomes an id_map. */
#ifndef IDREC_CORE_ID_TABLE_H
#define IDREC_CORE_ID_TABLE_H

#include <stddef.h>

#include "core/interactions.h"

struct id_table {
    struct id_map map;       /* offsets and bytes with room to grow */
    int64_t offset_capacity; /* ids that offsets has room for */
    size_t byte_capacity;
    struct id_slot *slots; /* [slot_count], a power of two */
    size_t slot_count;
};

/* What an id is looked up by. Up to 16 bytes the key is the id itself, and no other memory than a slot of the
 * table is read; longer ids are keyed by a hash and compared. */
struct id_key {
    uint64_t words[2];
    uint32_t tag; /* 27 bits of hash, then 5 of length (31: longer than 16) */
};
struct id_key id_key_of(const char *text, size_t length);

/* Asks the processor to fetch what id_table_add() will read: looking several ids up in turn hides the
 * delay. */
void id_table_prefetch(const struct id_table *table, struct id_key key);
/* The index of text[0 .. length - 1], which is added when it is new; -1: out of memory or of numbers. */
int32_t id_table_add(struct id_table *table, struct id_key key, const char *text, size_t length);
/* Hands the ids over and frees the rest; the table is empty afterwards. */
struct id_map id_table_take(struct id_table *table);
void id_table_free(struct id_table *table);

#endif
