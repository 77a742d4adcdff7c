/*
 * sweep.h: a study: one configuration with `experiment.sweep` or `experiment.sweep_list`, and the trials that these declare.
 * A trial is an ordinary run with a configuration and a folder of its own, STUDY/trials/NAME. Its name is made of what it
 * sets ("contexts=4,width=64"), so that it stays the same when other trials come or go.
 */
#ifndef IDREC_EXPERIMENTS_SWEEP_H
#define IDREC_EXPERIMENTS_SWEEP_H

#include <jansson.h>

#include "core/config.h"

enum { SWEEP_TRIALS_MAXIMUM = 10000, SWEEP_KEYS_MAXIMUM = 64 };

struct sweep_trial {
    char *name, *folder;
    int setting_count;
    struct config_setting *settings; /* what the trial sets; values are YAML in one line */
};

struct sweep {
    struct config *config; /* of the study */
    char *path;            /* its file */
    int override_count;
    char *const *overrides; /* borrowed */
    char *folder;           /* runs/NAME, or the config's `output` */
    int key_count;
    const char *keys
        [SWEEP_KEYS_MAXIMUM]; /* every key that a trial sets, in the order of the file; borrowed of trials */
    int trial_count;
    struct sweep_trial *trials;
    int reference; /* the trial that the others are compared with */
};

bool sweep_is_declared(const struct config *config);

/* The trials of a study. An unknown key, a value that it cannot have and trials that are the same are ERROR_USAGE. */
bool sweep_open(struct sweep *sweep, const char *path, int override_count, char *const *overrides,
                struct error *error);
/* The same of the folder of a study; no configuration of a trial can be asked for. */
bool sweep_open_folder(struct sweep *sweep, const char *folder, struct error *error);
void sweep_close(struct sweep *sweep);

/* The number of the trial of that name, or -1. */
int sweep_find(const struct sweep *sweep, const char *name);
/* The error of a trial that is asked for and not there. Returns false. */
bool sweep_lacks_trial(const struct sweep *sweep, const char *name, struct error *error);
/* The configuration of a trial, checked, and errors name the trial: that of the study with what the trial sets, without the sweep. */
bool sweep_trial_config(struct config **config, const struct sweep *sweep, int trial, struct error *error);
/* What a trial sets `key` to, as YAML; NULL: what the configuration of the study says. */
const char *sweep_setting(const struct sweep_trial *trial, const char *key);
/* {"generate.contexts": 4, ...}; a new reference. */
json_t *sweep_settings_json(const struct sweep_trial *trial);
/* A malloc'ed path below the study's folder. */
char *sweep_path(const struct sweep *sweep, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
