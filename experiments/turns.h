/*
 * turns.h: numbered pieces of work that the ranks of a job take one after another, whoever is free the next one:
 * pieces differ in what they cost, and ranks in their speed. What has been taken stands in the run's folder, which
 * all ranks see: a piece is a file that is created by one of them only. So no rank has to answer others while it
 * works.
 */
#ifndef IDREC_EXPERIMENTS_TURNS_H
#define IDREC_EXPERIMENTS_TURNS_H

#include "experiments/run.h"

struct turns;

/* Of pieces 0 .. count - 1. With by_ranks all ranks call it, in a stage that is done by ranks; else the caller does
 * them all, and no file is made. */
bool turns_open(struct turns **turns, const struct run *run, bool by_ranks, int64_t count,
                struct error *error);
/* *index: the next piece, or -1: all are taken, or a signal has come to some rank. By one thread at a time. */
bool turns_take(struct turns *turns, int64_t *index, struct error *error);
/* Takes piece `index` out of turn, unless another rank has it: then *taken is false. Each rank asks for every piece
 * once. */
bool turns_take_piece(struct turns *turns, int64_t index, bool *taken, struct error *error);
/* Sets *error and returns false when a signal has come to some rank. */
bool turns_check(const struct turns *turns, struct error *error);
/* What the rank that took a piece has to say of it to the others, once; *text: malloc'ed, NULL: nothing yet. Not
 * where the caller is alone. */
bool turns_say(const struct turns *turns, int64_t index, const char *text, struct error *error);
bool turns_hear(const struct turns *turns, int64_t index, char **text, struct error *error);
bool turns_are_shared(const struct turns *turns);
/* How many pieces are known to have been taken, by any rank. */
int64_t turns_taken(const struct turns *turns);
/* `done`: this rank has done what it took, else `error` is set. All ranks call it, but those that fail by another
 * error than a signal, which end the job. True when all pieces are done, by all ranks; ERROR_INTERRUPTED at every
 * rank when pieces are left because a signal came to one. */
bool turns_end(struct turns *turns, bool done, struct error *error);
void turns_close(struct turns *turns);

#endif
