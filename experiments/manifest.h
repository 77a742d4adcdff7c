/*
 * manifest.h: manifest.json of a run's folder: by which program, where and when the run was made, and for
 * each stage the hash of its inputs, its outputs with size and hash, and what it cost. It also holds the
 * folder's lock: one process works in a folder at a time.
 */
#ifndef IDREC_EXPERIMENTS_MANIFEST_H
#define IDREC_EXPERIMENTS_MANIFEST_H

#include <jansson.h>

#include "core/error.h"

struct manifest;

/* Locks the folder and reads its manifest, or begins one. */
bool manifest_open(struct manifest **manifest, const char *folder, struct error *error);
/* Whether another process works in the folder. */
bool manifest_is_locked(const char *folder);
/* Reads the manifest that is there, without the lock, which a folder that is only read has no need of. */
bool manifest_read(struct manifest **manifest, const char *folder, struct error *error);
void manifest_close(struct manifest *manifest);
bool manifest_save(const struct manifest *manifest, struct error *error);

/* Sets what stands at the top level; takes the reference over. */
void manifest_set(struct manifest *manifest, const char *key, json_t *value);
/* What stands there; borrowed, NULL when there is none. */
json_t *manifest_get(const struct manifest *manifest, const char *key);
/* Version, commit and compiler of this program; the host; the time. */
void manifest_describe(struct manifest *manifest);

/* The record of a stage: {"inputs", "complete", "outputs": [{"path", "bytes", "hash"}], "hash", "cost"};
 * borrowed, NULL when there is none. */
json_t *manifest_stage(const struct manifest *manifest, const char *stage);
/* Begins a record for these inputs, not complete, in place of an older one. */
json_t *manifest_begin(struct manifest *manifest, const char *stage, const char *inputs);
/* Puts a record in place of an older one; takes the reference over. */
void manifest_put(struct manifest *manifest, const char *stage, json_t *record);
/* Lists the files below the paths given (relative to the folder, NULL-ended), and marks the record
 * complete. */
bool manifest_complete(struct manifest *manifest, const char *stage, const char *const *paths,
                       struct error *error);
/* Whether every output of a complete stage that has this name, or any (NULL), is there with its recorded size. */
bool manifest_outputs_present(const struct manifest *manifest, const char *stage, const char *name);
/* The hash over the outputs of a complete stage; NULL when it is not complete. */
const char *manifest_outputs_hash(const struct manifest *manifest, const char *stage);

#endif
