/*
 * progress.h: what a person sees while a stage works, and what is kept in log.txt and metrics.jsonl.
 * On a terminal a bar with rate, loss and time left; elsewhere a plain line every few seconds.
 */
#ifndef IDREC_CORE_PROGRESS_H
#define IDREC_CORE_PROGRESS_H

#include <stdint.h>
#include <stdio.h>

/* Appends to FOLDER/log.txt and FOLDER/metrics.jsonl, each of which begins with its first line; NULL writes
 * none. Lines go to stderr too. */
struct log;
struct log *log_open(const char *folder);
/* Writes nothing, to stderr neither: of a rank that works with others of which one tells. */
struct log *log_open_silent(void);
void log_close(struct log *log);
/* A line for people. `log` may be NULL: only stderr. */
void log_line(struct log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for a piece of work that a bar counts: a terminal does not get it. */
void log_piece(struct log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line of metrics.jsonl: {"stage": stage, "step": step, name: value, ...}; names and values alternate. */
void log_metric(struct log *log, const char *stage, int64_t step, int count, const char *const *names,
                const double *values);

struct progress;
/* `unit` counts the work ("tokens", "users"); total 0: unknown. `log` may be NULL. */
struct progress *progress_start(struct log *log, const char *stage, const char *unit, int64_t total);
/* `detail` is a short free text such as "loss 5.83"; NULL: none. May be called often: it draws a few times a second. */
void progress_update(struct progress *progress, int64_t done, const char *detail, ...)
    __attribute__((format(printf, 3, 4)));
void progress_finish(struct progress *progress, const char *summary, ...)
    __attribute__((format(printf, 2, 3)));

#endif
