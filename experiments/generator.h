/*
 * generator.h: whatever proposes interactions, as `generate.method` and the way items are written ask for it: rankings, drawn
 * lists or beam search, of items of one token or of several.
 */
#ifndef IDREC_EXPERIMENTS_GENERATOR_H
#define IDREC_EXPERIMENTS_GENERATOR_H

#include "core/config.h"
#include "core/interactions.h"
#include "models/language/answer_parser.h"
#include "models/language/ranker.h"
#include "models/language/sampler.h"

enum generator_method { GENERATE_RANKING, GENERATE_SAMPLING, GENERATE_BEAM, GENERATE_BEAM_LISTS };
/* As generate.method says it. */
const char *generator_method_name(enum generator_method method);
enum generator_method generator_method_of(const struct config *config);

struct generator_beams {
    int64_t beams, groups;
    double diversity;
};

/* What generation goes out from; all that is pointed to must outlive the generator. */
struct generator_source {
    enum generator_method method;
    const struct csr *train;           /* what the users have, in order of time */
    struct transformer *const *models; /* more than one: of one shape, for GENERATE_RANKING of single items */
    int64_t model_count;
    struct sampler_settings sampling; /* what these two say holds for items of several tokens, too */
    struct ranker_settings ranking;
    struct generator_beams beams;
    int64_t tokens_maximum;             /* of a list; 0: what its items can need */
    bool single;                        /* every item is one token of their vocabulary */
    const struct answer_format *format; /* answers are text, when they are written freely; NULL: tokens */
};

struct generator;

bool generator_open(struct generator **generator, const struct generator_source *source, struct error *error);
void generator_close(struct generator *generator);
void generator_print_memory(const struct generator *generator, FILE *stream);

/* Appends the proposals for the users first .. first + count - 1 to an empty list, with votes, by user, sample and
 * position. */
bool generator_run(struct generator *generator, int64_t first, int64_t count, struct proposal_list *list,
                   struct error *error);
int64_t generator_tokens(const struct generator *generator); /* that the model has processed */

/* Refuses settings that do not fit together. */
bool generator_check(const struct config *config, struct error *error);
/* The settings that proposals depend on, for people; the batch is none of them. */
void generator_describe(char *text, size_t size, const struct config *config);
/* Whether a user gets lists, in which items have votes, or one ranking. */
bool generator_makes_lists(const struct config *config);

#endif
