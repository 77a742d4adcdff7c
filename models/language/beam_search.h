/*
 * beam_search.h: beam search behind the contexts of many users at a time, fixed in width, in groups that are kept apart as
 * in diverse beam search (Vijayakumar et al. 2018, algorithm 1): at each step the groups choose one after another, and a
 * token that groups before have chosen at this step counts `diversity` less for each time (Hamming diversity). That decides
 * which beams go on; log-probabilities are left as they are. What a beam is and how it ends, its rules say: item_beams.c
 * and list_beams.c.
 *
 * Beams that go on from the same one share its keys and values by copies of what is behind the context (cache_share()). A
 * search that is done makes room for the next at once; its result depends neither on the batch nor on threads.
 */
#ifndef IDREC_MODELS_LANGUAGE_BEAM_SEARCH_H
#define IDREC_MODELS_LANGUAGE_BEAM_SEARCH_H

#include "models/language/context_cache.h"
#include "models/language/item_writer.h"

struct beam {
    int32_t slot, token, position; /* to be decoded next; tokens before it */
    double log_probability;        /* of its tokens behind the context */
    struct written_list list;
    void *payload; /* what the rules keep with it, rules->payload_bytes */
};

struct beam_tokens {
    int64_t count;
    const int32_t *token; /* [count] */
    const real *value;    /* [count]: log-probabilities, softmax over the whole vocabulary */
};

/* A search by its number among those under way. */
struct beam_rules {
    void *self;
    size_t payload_bytes;
    int64_t tokens_maximum; /* that list() can write */
    int64_t depth_maximum;  /* tokens behind a context */
    bool shrinks; /* a beam that is complete leaves its group smaller (Freitag and Al-Onaizan 2017) */
    /* Sets the first beam of a search. */
    bool (*begin)(void *self, int64_t search, int64_t user, struct beam *beam, struct error *error);
    /* Writes the tokens that may follow, at most `tokens_maximum`; NULL: any may, the best are looked at. */
    int64_t (*list)(void *self, const struct beam *beam, int32_t *token);
    /* Takes what ends behind a beam without becoming one; NULL: nothing does. */
    bool (*finish)(void *self, int64_t search, const struct beam *beam, const struct beam_tokens *tokens,
                   struct error *error);
    /* Whether a listed token makes a beam; NULL: each does. */
    bool (*extends)(void *self, const struct beam *beam, const struct beam_tokens *tokens, int64_t place);
    /* Lets `beam`, a copy of the one before, go on by a token; *ended: it is complete, and was taken. */
    bool (*extend)(void *self, int64_t search, struct beam *beam, const struct beam_tokens *tokens,
                   int64_t place, bool *ended, struct error *error);
    /* Whether beams of at most this log-probability cannot add anything; NULL: they always can. */
    bool (*is_done)(void *self, int64_t search, double best_log_probability);
    /* Takes the result of context number `context` of a user. */
    bool (*end)(void *self, int64_t search, int64_t user, int64_t context, struct error *error);
};

struct beam_settings {
    struct prompt_settings prompt;
    int64_t batch; /* beams decoded together, raised to those of one search; see context_cache.h */
    size_t cache_bytes;
    int64_t contexts;      /* shuffled contexts a user, each searched on its own */
    int64_t beams, groups; /* in all, a multiple of the groups */
    double diversity;      /* 0: groups do not differ */
    uint64_t seed;         /* of the shuffles */
};

struct beam_search;

/* `train` rows in order of time; what is given must outlive the search. */
bool beam_search_create(struct beam_search **search, struct transformer *model,
                        const struct beam_settings *settings, const struct beam_rules *rules,
                        const struct csr *train, struct error *error);
void beam_search_free(struct beam_search *search);
void beam_search_print_memory(const struct beam_search *search, FILE *stream);

/* How many searches are under way at most. */
int64_t beam_search_width(const struct beam_search *search);
int64_t beam_search_tokens(const struct beam_search *search);

/* Searches behind every context of the users, those of like length together. */
bool beam_search_run(struct beam_search *search, int64_t first_user, int64_t user_count, struct error *error);

#endif
