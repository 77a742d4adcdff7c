/* sampler_state.h: what a sampler consists of: the rows that it decodes together, on the host and on the device, and the
 * steps between two looks of the host; only sampler*.c include it. */
#ifndef IDREC_MODELS_LANGUAGE_SAMPLER_STATE_H
#define IDREC_MODELS_LANGUAGE_SAMPLER_STATE_H

#include "models/language/cache.h"
#include "models/language/sampler.h"

enum { STEP_SIZES = 40 };

/* The sequences being decoded, row by row, as the host knows them; the first `count` rows are in use. */
struct active_rows {
    int64_t count;
    int32_t *user, *sample;                            /* [rows] */
    int32_t *slot, *token, *position, *length, *drawn; /* [rows]; see struct decode_rows */
    int64_t *stream;                                   /* [rows] */
    uint32_t *shown;              /* [rows, words]: train items, drawn items, and what else is forbidden */
    bool *shown_changed, changed; /* [rows]; any row: the device does not know it yet */
};

/* The same on the device, [rows] each, and what the host takes from there. */
struct device_rows {
    struct tensor token, position, length, slot, drawn, stream;
    struct tensor forbidden; /* u32 [rows, words]; rank 0: nothing is */
    struct tensor drawn_token, drawn_log_probability;
    struct tensor log, log_probability; /* [rows, steps_maximum] */
};

/* What came from the device. */
struct drawn_rows {
    int32_t *slot, *drawn; /* [rows] */
    int32_t *log;          /* [rows, steps_maximum] */
    real *log_probability;
};

struct sampler {
    struct transformer *model;
    struct sampler_settings settings;
    const struct csr *train;
    struct cache *cache;
    int64_t slots; /* sequences decoded together */
    int64_t rows;  /* of a step of all of them: rounded up to a multiple of GEMM_ROW_BLOCK */
    int64_t words, tokens;
    int64_t steps_maximum; /* between two looks */
    struct active_rows active;
    struct device_rows device;
    struct drawn_rows drawn;
    int32_t *free_slot;                    /* [slots]; the first slots - active.count are free */
    int32_t *prompt;                       /* [length_maximum] */
    struct arena arena;                    /* of the device's rows */
    struct backend_graph step[STEP_SIZES]; /* of 64, 128, 256 ... rows */
};

/* Steps between two looks. */
int64_t sampler_steps_maximum(const struct backend *backend, const struct sampler_settings *settings);

/* Lays sampler->device out over the arena. */
void sampler_lay_out_rows(struct sampler *sampler);

/* Decodes and draws for the active rows until a list may have ended; what they drew is in sampler->drawn. */
bool sampler_run_steps(struct sampler *sampler, struct error *error);

#endif
