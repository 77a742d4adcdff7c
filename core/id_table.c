#include "core/id_table.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

struct id_slot {
    uint32_t hash;
    int32_t number; /* the id's index + 1; 0: empty */
};

static void place(struct id_slot *slots, size_t slot_count, struct id_slot slot)
{
    size_t position = slot.hash & (slot_count - 1);
    while (slots[position].number)
        position = (position + 1) & (slot_count - 1);
    slots[position] = slot;
}

static bool grow_slots(struct id_table *table)
{
    const size_t slot_count = table->slot_count ? table->slot_count * 2 : 1024;
    struct id_slot *slots = calloc(slot_count, sizeof *slots);
    if (!slots)
        return false;
    for (size_t old = 0; old < table->slot_count; old++)
        if (table->slots[old].number)
            place(slots, slot_count, table->slots[old]);
    free(table->slots);
    table->slots = slots;
    table->slot_count = slot_count;
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

int32_t id_table_add(struct id_table *table, const char *text, size_t length)
{
    if ((size_t)table->map.count * 2 >= table->slot_count && !grow_slots(table))
        return -1;
    const uint32_t hash = (uint32_t)XXH3_64bits(text, length);
    size_t position = hash & (table->slot_count - 1);
    for (; table->slots[position].number; position = (position + 1) & (table->slot_count - 1)) {
        const struct id_slot slot = table->slots[position];
        if (slot.hash == hash && same_text(&table->map, slot.number - 1, text, length))
            return slot.number - 1;
    }
    if (table->map.count >= INT32_MAX - 1 || !append_text(table, text, length))
        return -1;
    table->slots[position] = (struct id_slot){.hash = hash, .number = (int32_t)table->map.count};
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
