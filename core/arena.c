#include "core/arena.h"

#include <stdlib.h>

#include "core/backend.h"

#define ARENA_ALIGNMENT ((size_t)256)

struct arena arena_measure(struct backend *backend, const char *name)
{
    return (struct arena){.name = name, .backend = backend};
}

bool arena_reserve(struct arena *arena, size_t minimum, const char *lower, struct error *error)
{
    const size_t bytes = arena->used > minimum ? arena->used : minimum;
    arena->base = arena->backend->allocate(arena->backend, bytes > 0 ? bytes : ARENA_ALIGNMENT);
    if (!arena->base) {
        char what[160];
        snprintf(what, sizeof what, "the arena of %s", arena->name);
        return error_memory(error, what, bytes, lower);
    }
    arena->backend->fill_zero(arena->backend, arena->base, bytes);
    arena->capacity = bytes;
    arena->used = arena->peak = 0;
    return true;
}

void arena_release(struct arena *arena)
{
    if (arena->base)
        arena->backend->release(arena->backend, arena->base);
    arena->base = NULL;
    arena->capacity = arena->used = 0;
}

static void *take(struct arena *arena, size_t bytes)
{
    const size_t start = arena->used;
    arena->used = start + (bytes + ARENA_ALIGNMENT - 1) / ARENA_ALIGNMENT * ARENA_ALIGNMENT;
    if (arena->used > arena->peak)
        arena->peak = arena->used;
    if (!arena->base)
        return NULL;
    if (arena->used > arena->capacity) {
        fprintf(stderr, "idrec: internal error: arena %s holds %zu bytes, %zu asked for\n", arena->name,
                arena->capacity, arena->used);
        abort();
    }
    return arena->base + start;
}

struct tensor arena_tensor_1d(struct arena *arena, enum dtype dtype, int64_t length)
{
    return tensor_1d(take(arena, (size_t)length * dtype_size(dtype)), dtype, arena->backend->device, length);
}

struct tensor arena_tensor_2d(struct arena *arena, enum dtype dtype, int64_t rows, int64_t columns)
{
    return tensor_2d(take(arena, (size_t)(rows * columns) * dtype_size(dtype)), dtype, arena->backend->device,
                     rows, columns);
}

size_t arena_mark(const struct arena *arena)
{
    return arena->used;
}

void arena_return(struct arena *arena, size_t mark)
{
    arena->used = mark;
}

void arena_print_table(FILE *stream, const char *title, const struct arena *const *arenas, int count)
{
    const double mebibyte = 1024.0 * 1024.0;
    double total = 0.0;
    fprintf(stream, "%s\n", title);
    for (int index = 0; index < count; index++) {
        const double reserved = (double)arenas[index]->capacity / mebibyte;
        fprintf(stream, "  %-14s %10.1f MiB reserved %10.1f MiB used at most\n", arenas[index]->name,
                reserved, (double)arenas[index]->peak / mebibyte);
        total += reserved;
    }
    fprintf(stream, "  %-14s %10.1f MiB\n", "total", total);
}
