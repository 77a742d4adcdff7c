/*
 * meter.h: what a process spends on a run: seconds, and joules where they can be read (core/energy.h). A thread writes them
 * to FOLDER/attempt.json every METER_SECONDS, so that the next process knows what one that was killed had spent.
 */
#ifndef IDREC_EXPERIMENTS_METER_H
#define IDREC_EXPERIMENTS_METER_H

#include <jansson.h>

#include "core/energy.h"
#include "core/error.h"

enum { METER_SECONDS = 5 };

struct spent {
    double seconds;
    double joules; /* NAN: not measured */
};

struct meter;

/* `started`: clock_seconds() when the process turned to the run. The folder must be locked for this process. */
bool meter_open(struct meter **meter, const char *folder, double started, const struct energy_places *places,
                struct error *error);
/* Removes attempt.json. NULL is fine. */
void meter_close(struct meter *meter);

/* The process does nothing but this run: what came before meter_open() counts as well. */
void meter_count_start(struct meter *meter);
/* Since the start. */
struct spent meter_read(struct meter *meter);
/* From here on the process works for a stage; NULL: for none. */
void meter_turn_to(struct meter *meter, const char *stage);
/* What the stage under way, NULL: none, has spent. */
const char *meter_stage(struct meter *meter, struct spent *spent);
/* Names the process; no two that worked on a folder have the same. */
const char *meter_session(const struct meter *meter);
const char *meter_energy_source(const struct meter *meter);

/* attempt.json of a process that did not come to meter_close(): {"session", "spent", "stage", "began", "peak_memory_bytes",
 * "energy_source"}, where "spent" and "began" (of the stage) are as spent_json() has them, "stage" may be null. A new reference;
 * NULL: there is none, or it is damaged. */
json_t *meter_left_behind(const char *folder);
bool meter_forget_left_behind(const char *folder, struct error *error);

/* {"seconds", "energy_joules"}, null where not measured. */
json_t *spent_json(struct spent spent);
struct spent spent_of(const json_t *object);
struct spent spent_sum(struct spent a, struct spent b);
struct spent spent_difference(struct spent a, struct spent b);

#endif
