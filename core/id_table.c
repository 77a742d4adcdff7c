#include "core/id_table.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define LONG_ID 31 /* the length bits of a tag whose id does not fit into its key */

struct id_slot {
    uint64_t words[2];
    uint32_t tag;
    int32_t number; /* the id's index + 1; 0: empty */
};

static uint64_t load(const char *text, size_t length)
{
    uint64_t value = 0;
    memcpy(&value, text, length);
    return value;
}

struct id_key id_key_of(const char *text, size_t length)
{
    struct id_key key;
    if (length > 16) {
        const XXH128_hash_t hash = XXH3_128bits(text, length);
        key = (struct id_key){.words = {hash.low64, hash.high64}, .tag = (uint32_t)hash.low64 | LONG_ID};
        return key;
    }
    /* The first and the last bytes, which overlap: with the length they determine the id. */
    if (length >= 8)
        key = (struct id_key){.words = {load(text, 8), load(text + length - 8, 8)}};
    else if (length >= 4)
        key = (struct id_key){.words = {load(text, 4), load(text + length - 4, 4)}};
    else
        key = (struct id_key){.words = {length > 1 ? load(text, 2) : load(text, length),
                                        length > 0 ? load(text + length - 1, 1) : 0}};
    const __uint128_t product = (__uint128_t)(key.words[0] ^ 0x9E3779B97F4A7C15u) *
                                (key.words[1] ^ 0xC2B2AE3D27D4EB4Fu ^ (uint64_t)length << 56);
    key.tag = ((uint32_t)(product >> 64) ^ (uint32_t)product) << 5 | (uint32_t)length;
    return key;
}

static size_t home(const struct id_table *table, uint32_t tag)
{
    return (tag >> 5) & (table->slot_count - 1);
}

void id_table_prefetch(const struct id_table *table, struct id_key key)
{
    if (table->slots)
        __builtin_prefetch(&table->slots[home(table, key.tag)]);
}

static bool grow_slots(struct id_table *table)
{
    struct id_table grown = {.slot_count = table->slot_count ? table->slot_count * 2 : 1024};
    grown.slots = calloc(grown.slot_count, sizeof *grown.slots);
    if (!grown.slots)
        return false;
    for (size_t old = 0; old < table->slot_count; old++) {
        if (!table->slots[old].number)
            continue;
        size_t position = home(&grown, table->slots[old].tag);
        while (grown.slots[position].number)
            position = (position + 1) & (grown.slot_count - 1);
        grown.slots[position] = table->slots[old];
    }
    free(table->slots);
    table->slots = grown.slots;
    table->slot_count = grown.slot_count;
    return true;
}

static bool append_text(struct id_table *table, const char *text, size_t length)
{
    struct id_map *map = &table->map;
    if (map->count + 1 >= table->offset_capacity) {
        const int64_t capacity = table->offset_capacity ? table->offset_capacity * 2 : 512;
        int64_t *offsets = realloc(map->offsets, (size_t)capacity * sizeof *offsets);
        if (!offsets)
            return false;
        if (map->count == 0)
            offsets[0] = 0;
        map->offsets = offsets;
        table->offset_capacity = capacity;
    }
    const size_t used = (size_t)map->offsets[map->count];
    if (used + length + 1 > table->byte_capacity) {
        const size_t capacity = (used + length + 1) * 2 + 4096;
        char *bytes = realloc(map->bytes, capacity);
        if (!bytes)
            return false;
        map->bytes = bytes;
        table->byte_capacity = capacity;
    }
    memcpy(map->bytes + used, text, length);
    map->bytes[used + length] = '\0';
    map->offsets[++map->count] = (int64_t)(used + length + 1);
    return true;
}

static bool same_text(const struct id_map *map, int32_t index, const char *text, size_t length)
{
    const int64_t start = map->offsets[index];
    return (size_t)(map->offsets[index + 1] - start - 1) == length &&
           memcmp(map->bytes + start, text, length) == 0;
}

static bool same_key(const struct id_slot *slot, const struct id_key *key)
{
    return slot->tag == key->tag && slot->words[0] == key->words[0] && slot->words[1] == key->words[1];
}

int32_t id_table_add(struct id_table *table, struct id_key key, const char *text, size_t length)
{
    if ((size_t)table->map.count * 3 >= table->slot_count * 2 && !grow_slots(table))
        return -1;
    size_t position = home(table, key.tag);
    for (; table->slots[position].number; position = (position + 1) & (table->slot_count - 1)) {
        const struct id_slot *slot = &table->slots[position];
        if (same_key(slot, &key) && (length <= 16 || same_text(&table->map, slot->number - 1, text, length)))
            return slot->number - 1;
    }
    if (table->map.count >= INT32_MAX - 1 || !append_text(table, text, length))
        return -1;
    table->slots[position] = (struct id_slot){
        .words = {key.words[0], key.words[1]}, .tag = key.tag, .number = (int32_t)table->map.count};
    return (int32_t)table->map.count - 1;
}

struct id_map id_table_take(struct id_table *table)
{
    const struct id_map map = table->map;
    free(table->slots);
    *table = (struct id_table){0};
    return map;
}

void id_table_free(struct id_table *table)
{
    id_map_free(&table->map);
    free(table->slots);
    *table = (struct id_table){0};
}
