/*
 * generation.h: asking the language model of a run about every user. Users are done in parts of a fixed size, each of which
 * is a file as soon as it is done, so a killed run goes on at the next part. Ranks take parts in turns, and rank 0 merges
 * them: what comes of it does not depend on the ranks.
 */
#ifndef IDREC_EXPERIMENTS_GENERATION_H
#define IDREC_EXPERIMENTS_GENERATION_H

#include "experiments/generated.h"
#include "experiments/generator.h"
#include "experiments/language_model.h"

/* Users of a part. */
enum { GENERATION_PART_USERS = 512 };

/* What keys and values may take, as generate.memory says; 0: what suits the device (cache_choose_slots()). */
size_t generation_cache_bytes(const struct config *config);

struct generation_request {
    const struct run *run;
    struct generator_source source; /* without the model */
    const char *stage;              /* that asks */
    const char *settings;           /* all that the rows depend on of the request, for people */
    const char *path, *parts;       /* the file to make, and the folder of what is done of it */
    bool shared; /* with other trials of a study; the output of a stage is shared as a whole instead */
};

/* Makes a file as of generated.h, unless it is there and is of the same settings, data and model, and loads it. All ranks call
 * it, in a stage that is done by ranks. */
bool generation_make(const struct generation_request *request, struct generated *made, struct error *error);

#endif
