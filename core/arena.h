/*
 * arena.h: named blocks of device memory, sized before the first step.
 *
 * A model lays its tensors out twice with the same code: first over an arena without memory, which only
 * measures, then, after arena_reserve(), over the real one. Every arena is known to its list, which prints
 * the table of a stage's memory and is released as a whole.
 */
#ifndef IDREC_CORE_ARENA_H
#define IDREC_CORE_ARENA_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/error.h"
#include "core/tensor.h"

struct backend;

struct arena {
    const char *name; /* "weights", "gradients", "optimizer", "activations", "scratch" */
    struct backend *backend;
    char *base;      /* NULL while measuring */
    size_t capacity; /* bytes reserved */
    size_t used;     /* bytes handed out */
    size_t peak;     /* the most ever handed out */
};

/* An arena that measures. */
struct arena arena_measure(struct backend *backend, const char *name);

/* Allocates what was measured (arena->used, at least `minimum` bytes), zeroed, and starts again from empty.
 * `lower` names the setting to lower when memory does not suffice; never NULL. */
bool arena_reserve(struct arena *arena, size_t minimum, const char *lower, struct error *error);

/* The same for arenas that belong together: none is of use without the others. When memory does not suffice, the
 * error shows the plan of all of them, what the device has free, and the setting to lower, lower[i], of the largest. */
bool arena_reserve_all(struct arena *const *arenas, const char *const *lower, int count, struct error *error);

/* Gives the memory back; the arena measures again. */
void arena_release(struct arena *arena);

/* A zero-initialised tensor (on first use) aligned to 256 bytes; data is NULL while measuring. Handing out
 * more than was reserved is a programming error and aborts with the arena's name and sizes. */
struct tensor arena_tensor_1d(struct arena *arena, enum dtype dtype, int64_t length);
struct tensor arena_tensor_2d(struct arena *arena, enum dtype dtype, int64_t rows, int64_t columns);

/* Stack discipline for scratch: mark, use, return to the mark. */
size_t arena_mark(const struct arena *arena);
void arena_return(struct arena *arena, size_t mark);

/* One line an arena: name, reserved, peak, in MiB; then their sum. */
void arena_print_table(FILE *stream, const char *title, const struct arena *const *arenas, int count);

#endif
