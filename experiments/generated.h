/*
 * generated.h: what the language model generated, in memory and as generated.h5: columns /user /item /sample
 * /position /votes /cut (i32) and /log_probability (f32), one row an interaction, ordered by user, sample and
 * position; the counts and the origin as attributes of the file. Only tokens that are items have a row. In
 * unconstrained mode rows may repeat an item of their sample or of the user's train part: these are counted,
 * and stay for the filters of the next stage.
 */
#ifndef IDREC_EXPERIMENTS_GENERATED_H
#define IDREC_EXPERIMENTS_GENERATED_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

/* valid + invalid + already_seen + duplicate <= requested; less where samples ended early. */
struct generation_counts {
    int64_t requested; /* users x samples x max_items */
    int64_t valid;     /* new to the user and to the sample */
    int64_t invalid;   /* what is no item, tokens or pieces of text; it has no row */
    int64_t malformed,
        unknown;          /* of the invalid: no item by its format; in format, but not in the catalogue */
    int64_t incomplete;   /* lists whose last item the limit on tokens cut off */
    int64_t already_seen; /* items of the user's train part */
    int64_t duplicate;    /* items that their sample had already */
    int64_t tokens;       /* that the model processed: prompts and generated items */
    double floating_point_operations;
};

struct generated {
    int64_t count;
    int32_t *user, *item; /* [count], indices of dataset.h5 */
    int32_t *sample;      /* [count], from 0; ranking: 0 */
    int32_t *position;    /* [count], within the sample from 0; ranking: the rank from 0 */
    int32_t *votes;       /* [count], the user's samples (ranking: contexts) that hold the item */
    int32_t *
        cut; /* [count], 1: the limit on tokens ended the text with the item, which may be the beginning of another */
    float *log_probability; /* [count], natural logarithm */
    struct generation_counts counts;
};

/* Where rows come from; all three are texts. */
struct generated_origin {
    const char *method;      /* "sampling" or "ranking" */
    const char *settings;    /* for people */
    const char *fingerprint; /* of all that the rows depend on */
};

bool generated_load(struct generated *generated, const char *path, struct error *error);
bool generated_save(const struct generated *generated, const struct generated_origin *origin,
                    const char *path, struct error *error);
/* True when a complete file with this fingerprint is there. A file that cannot be read counts as none. */
bool generated_exists(const char *path, const char *fingerprint);

/* Room for `count` rows, and the end of it. */
bool generated_allocate(struct generated *generated, int64_t count, struct error *error);
void generated_free(struct generated *generated);

#endif
