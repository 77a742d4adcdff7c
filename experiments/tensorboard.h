/*
 * tensorboard.h: the learning curves and the final metrics of a run as files of TensorBoard, made from its logs at any time,
 * also while it goes on:
 *   RUN/tensorboard/language_model/   the curves of pretrain and finetune, from metrics.jsonl
 *   RUN/tensorboard/LABEL/ARM/seed-N/ the curve of a fit, from its metrics.jsonl, and its metrics.json
 * Nothing depends on when they are made. Times are those of the logs; where these have none, a step counts a second.
 */
#ifndef IDREC_EXPERIMENTS_TENSORBOARD_H
#define IDREC_EXPERIMENTS_TENSORBOARD_H

#include "core/error.h"

/* *files: how many there are, NULL: does not matter. */
bool tensorboard_write(const char *run_folder, int *files, struct error *error);

#endif
