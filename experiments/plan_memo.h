/*
 * plan_memo.h: what plans of several trials of one study have in common: the data are read once, a rate is measured once, and
 * what an earlier trial computes is not computed again.
 */
#ifndef IDREC_EXPERIMENTS_PLAN_MEMO_H
#define IDREC_EXPERIMENTS_PLAN_MEMO_H

#include <stddef.h>

#include "core/interactions.h"

/* The data of a configuration, as `prepare` would write them. */
struct plan_data_set {
    struct dataset dataset;
    struct csr train, validation; /* rows ascend */
    char source[256];             /* where their sizes come from */
    bool has_data;                /* false: sizes were given */
    double seconds;               /* that reading and splitting took */
};

struct plan_memo;

/* `limited`: the more was measured, the less time the next thing gets. */
bool plan_memo_open(struct plan_memo **memo, bool limited, struct error *error);
void plan_memo_close(struct plan_memo *memo);

/* What is kept under a key, or NULL. */
void *plan_memo_find(const struct plan_memo *memo, const char *key);
/* Keeps a copy of `size` bytes, or zeros where `value` is NULL, at an address that stays; NULL: no memory. */
void *plan_memo_keep(struct plan_memo *memo, const char *key, const void *value, size_t size);
/* The same for data, which are freed with the memo. */
struct plan_data_set *plan_memo_keep_data(struct plan_memo *memo, const char *key);

/* At most so many seconds for measuring one more thing: `most`, or less where the memo is limited. */
double plan_memo_seconds(const struct plan_memo *memo, double most);
/* Tells how long measuring something took. */
void plan_memo_spend(struct plan_memo *memo, double seconds);

/* A key of 32 digits, as stage_settings_hash() makes another. */
enum { PLAN_KEY_SIZE = 33 };
void plan_key_of_text(char key[PLAN_KEY_SIZE], const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
