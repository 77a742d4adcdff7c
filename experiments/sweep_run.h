/*
 * sweep_run.h: the trials of a study, each in a process of its own, several at a time. Any number of processes that work on
 * the same folder, on any number of hosts, divide the trials among themselves by claims.
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_RUN_H
#define IDREC_EXPERIMENTS_SWEEP_RUN_H

#include <stdio.h>

#include "core/comm.h"
#include "experiments/sweep.h"

/* The ranks of a job are such processes, each with an equal part of its machine's threads and free memory, and on GPUs with the
 * one of its number there; they wait for each other at the end only, and rank 0 prints.
 *
 * Runs what is not done and not under way elsewhere, waits for what is, writes the results of the study and prints their
 * table. A trial that failed before is tried again, once. Trials that fail do not end the others: they are told at the end,
 * as ERROR_RUN. */
bool sweep_run(const struct sweep *sweep, struct communicator *communicator, FILE *stream,
               struct error *error);

/* Runs one trial in this process up to a stage. threads 0: as many as its configuration says. Where nothing is left but fits
 * that other trials train, it `waits`, or else ends with ERROR_PUT_ASIDE. */
bool sweep_run_trial(const struct sweep *sweep, int trial, const char *stage, int threads, bool waits,
                     struct error *error);

/* Trials that one process runs side by side on this machine. */
int sweep_trials_at_once(const struct config *config);

#endif
