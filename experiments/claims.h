/*
 * claims.h: who does a piece of work, agreed upon through files alone, so that processes on any number of hosts divide
 * work among themselves in a folder that they share. NFS will do: a claim appears by link(), which is atomic there.
 *
 * A claim on PATH is the file PATH.N with the highest N, from 0 on, which tells its owner's host, process and start. Its
 * owner touches it while it works. A claim is dead when its process is gone, where that can be asked (the same host), or
 * when it was not touched for CLAIM_STALE_SECONDS by the clock of the folder's server. A dead PATH.N is taken over by
 * making PATH.N+1, which succeeds for exactly one; it stays where it is, so that nobody who saw it dead wins twice.
 */
#ifndef IDREC_EXPERIMENTS_CLAIMS_H
#define IDREC_EXPERIMENTS_CLAIMS_H

#include <jansson.h>

#include "core/error.h"

enum { CLAIM_TOUCH_SECONDS = 20, CLAIM_STALE_SECONDS = 300 };

struct claim;

/* *claim: NULL when someone else who lives has it. The folder of `path` must be there. */
bool claim_take(struct claim **claim, const char *path, struct error *error);
/* False once someone else has taken the claim over, whom this process seemed dead to. */
bool claim_is_held(struct claim *claim);
/* Lets others have it; what was done under it must be on disk. NULL is fine. */
void claim_release(struct claim *claim);
/* Removes what an owner that died left of a claim on work that is done, so that nobody will claim it any more. */
void claim_forget(const char *path);

/* Whether someone who lives has the claim; *owner, where it is wanted: {"host", "process", "started"}, a new reference, or
 * NULL. */
bool claim_is_taken(const char *path, json_t **owner);

#endif
