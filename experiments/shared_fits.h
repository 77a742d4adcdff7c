/*
 * shared_fits.h: fits that trials of one study have in common: whichever comes to one first trains it, under a claim, and the
 * others take it.
 *   SHARED/fit-HASH/{model.h5, top_k.tsv, validation.h5, metrics.jsonl, metrics.json}, as far as the fit has them
 * The files are links as those of shared_stages.h; SHARED/fit-HASH.claim.N tells which process trains, SHARED/fit-HASH.by where.
 * Whoever comes after one that was interrupted goes on from its checkpoint.
 *
 * A trial that comes to a fit which another one trains turns to its other fits. Where nothing but such are left, its process
 * ends with ERROR_PUT_ASIDE, and TRIAL/awaits.json names them: ["fit-HASH", ...]. Nobody waits with a claim in hand, so that
 * trials cannot wait for each other in a circle.
 */
#ifndef IDREC_EXPERIMENTS_SHARED_FITS_H
#define IDREC_EXPERIMENTS_SHARED_FITS_H

#include <jansson.h>

#include "experiments/run.h"

struct claim;

enum { SHARED_FIT_NAME_SIZE = 40 };

/* "fit-HASH" of a text that says everything which decides the content of the folder. */
void shared_fit_name(char name[SHARED_FIT_NAME_SIZE], const char *text);
/* SHARED/NAME; malloc'ed. */
char *shared_fit_folder(const char *shared, const char *name);

/* *claim: NULL when another process trains the fit. */
bool shared_fit_claim(struct claim **claim, const struct run *run, const char *name, struct error *error);
/* Makes the files of the fit in `folder` those of the shared one. */
bool shared_fit_take(const struct run *run, const char *name, const char *folder, struct error *error);
/* Under the claim, before a fit that could not be taken is trained in `folder`: what the last trial that trained it left there
 * when it was interrupted is put into this one. */
bool shared_fit_begin(const struct run *run, const char *name, const char *folder, struct error *error);
/* Lets others take the fit in `folder`, which is complete. The first that is offered is kept. */
bool shared_fit_offer(const struct run *run, const char *name, const char *folder, struct error *error);

/* Notes which fits, by name, the trial in `folder` waits for. */
bool awaited_fits_write(const char *folder, const json_t *names, struct error *error);
/* A new reference; NULL: the trial waits for none. */
json_t *awaited_fits_read(const char *folder);
bool awaited_fits_forget(const char *folder, struct error *error);
/* Whether all of them are there. */
bool awaited_fits_are_there(const json_t *names, const char *shared);
/* Whether one is neither there nor trained by anyone who lives. */
bool awaited_fits_lack_one(const json_t *names, const char *shared);

#endif
