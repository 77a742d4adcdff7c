/*
 * shared_stages.h: outputs of stages that trials of one study have in common: whichever comes first computes them, and the
 * others take them by the hash of the stage's inputs.
 *   SHARED/STAGE-HASH/{the outputs as below a run's folder, record.json: their record in manifest.json}
 * The files are hard links where the file system has them, else copies; SHARED/STAGE-HASH.claim.N tells which process
 * computes, SHARED/STAGE-HASH.by in which trial. Whoever comes after one that was killed goes on with what that one left,
 * whichever trial it was.
 */
#ifndef IDREC_EXPERIMENTS_SHARED_STAGES_H
#define IDREC_EXPERIMENTS_SHARED_STAGES_H

#include "experiments/stages.h"

/* Computes the outputs of a stage in the run's folder, records them as complete, and publishes them as below. */
typedef bool stage_compute(struct run *run, const struct stage *stage, const char *inputs,
                           struct error *error);

/* Takes the outputs, waiting for who computes them, or has them computed. Taken ones have their cost in the record with
 * "reused": true. */
bool shared_stage_work(struct run *run, const struct stage *stage, const char *inputs, stage_compute *compute,
                       struct error *error);
/* From here on the outputs, whose record is complete but not yet saved, are there for all trials: a process that is killed
 * before has done nothing, and one that is killed after has nothing left to do. Under the claim, by `compute`. */
bool shared_stage_publish(struct run *run, const struct stage *stage, const char *inputs,
                          struct error *error);
/* Offers outputs that the run's folder holds complete, where nobody has and nobody is about to. */
bool shared_stage_offer(struct run *run, const struct stage *stage, const char *inputs, struct error *error);
/* Makes `to` the same file as `from`, or a copy where there are no links between the two places. */
bool shared_link(const char *from, const char *to, struct error *error);

#endif
