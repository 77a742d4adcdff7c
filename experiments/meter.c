#include "experiments/meter.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/json_file.h"
#include "core/progress.h"
#include "core/thread.h"

struct meter {
    char *path, session[160];
    double started;
    struct energy *energy;
    const char *stage;
    struct spent began; /* of the stage */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t closing;
    bool closed, told;
};

/* ---- sums --------------------------------------------------------------------------------------------- */

json_t *spent_json(struct spent spent)
{
    return json_pack("{s:f, s:o}", "seconds", spent.seconds, "energy_joules",
                     isnan(spent.joules) ? json_null() : json_real(spent.joules));
}

struct spent spent_of(const json_t *object)
{
    const json_t *joules = json_object_get(object, "energy_joules");
    return (struct spent){.seconds = json_number_value(json_object_get(object, "seconds")),
                          .joules = json_is_null(joules) ? NAN : json_number_value(joules)};
}

struct spent spent_sum(struct spent a, struct spent b)
{
    return (struct spent){.seconds = a.seconds + b.seconds, .joules = a.joules + b.joules};
}

struct spent spent_difference(struct spent a, struct spent b)
{
    return (struct spent){.seconds = a.seconds - b.seconds, .joules = a.joules - b.joules};
}

/* ---- reading ------------------------------------------------------------------------------------------ */

static struct spent read_locked(struct meter *meter)
{
    return (struct spent){.seconds = clock_seconds() - meter->started,
                          .joules = energy_joules(meter->energy)};
}

struct spent meter_read(struct meter *meter)
{
    pthread_mutex_lock(&meter->lock);
    const struct spent spent = read_locked(meter);
    pthread_mutex_unlock(&meter->lock);
    return spent;
}

void meter_turn_to(struct meter *meter, const char *stage)
{
    pthread_mutex_lock(&meter->lock);
    meter->stage = stage;
    meter->began = read_locked(meter);
    pthread_mutex_unlock(&meter->lock);
}

const char *meter_stage(struct meter *meter, struct spent *spent)
{
    pthread_mutex_lock(&meter->lock);
    const char *stage = meter->stage;
    *spent = spent_difference(read_locked(meter), meter->began);
    pthread_mutex_unlock(&meter->lock);
    return stage;
}

const char *meter_session(const struct meter *meter)
{
    return meter->session;
}

const char *meter_energy_source(const struct meter *meter)
{
    return energy_source(meter->energy);
}

/* Seconds since the process began, by the kernel's record of it (proc(5), field 22 of stat); 0: not known. */
static double process_age(void)
{
    char line[1024];
    unsigned long long ticks = 0;
    struct timespec now;
    FILE *stream = fopen("/proc/self/stat", "re");
    if (!stream)
        return 0.0;
    const bool read = fgets(line, sizeof line, stream) != NULL;
    fclose(stream);
    const char *rest = read ? strrchr(line, ')') : NULL;
    if (!rest ||
        sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &ticks) != 1 ||
        clock_gettime(CLOCK_BOOTTIME, &now) != 0)
        return 0.0;
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec - (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

void meter_count_start(struct meter *meter)
{
    const double started = clock_seconds() - process_age();
    if (started < meter->started)
        meter->started = started;
}

/* ---- attempt.json ------------------------------------------------------------------------------------- */

static json_t *attempt_json(struct meter *meter)
{
    const char *source = energy_source(meter->energy);
    return json_pack("{s:s, s:o, s:o, s:o, s:I, s:o}", "session", meter->session, "spent",
                     spent_json(read_locked(meter)), "stage",
                     meter->stage ? json_string(meter->stage) : json_null(), "began",
                     spent_json(meter->began), "peak_memory_bytes", (json_int_t)peak_memory_bytes(),
                     "energy_source", source ? json_string(source) : json_null());
}

/* A failure is told once: all that hangs on it is what a kill from now on costs. */
static void write_attempt(struct meter *meter)
{
    struct error error = ERROR_INITIALIZER;
    json_t *record = attempt_json(meter);
    const bool done = json_file_write(meter->path, record, &error);
    if (!done && !meter->told)
        log_line(NULL, "%s; if the run is killed, what it cost will not be known", error.message);
    meter->told = meter->told || !done;
    json_decref(record);
}

static void *beat(void *argument)
{
    struct meter *meter = argument;
    pthread_mutex_lock(&meter->lock);
    while (!meter->closed) {
        struct timespec next;
        clock_gettime(CLOCK_MONOTONIC, &next);
        next.tv_sec += METER_SECONDS;
        while (!meter->closed && pthread_cond_timedwait(&meter->closing, &meter->lock, &next) == 0)
            ;
        if (!meter->closed)
            write_attempt(meter);
    }
    pthread_mutex_unlock(&meter->lock);
    return NULL;
}

static char *attempt_path(const char *folder)
{
    return path_format("%s/attempt.json", folder);
}

json_t *meter_left_behind(const char *folder)
{
    char *path = attempt_path(folder);
    json_t *record = json_load_file(path, 0, NULL);
    free(path);
    if (json_is_object(json_object_get(record, "spent")) &&
        json_is_object(json_object_get(record, "began")) &&
        json_is_string(json_object_get(record, "session")))
        return record;
    json_decref(record);
    return NULL;
}

bool meter_forget_left_behind(const char *folder, struct error *error)
{
    char *path = attempt_path(folder);
    const bool done = path_remove(path, error);
    free(path);
    return done;
}

/* ---- opening and closing ------------------------------------------------------------------------------ */

static bool start_thread(struct meter *meter, struct error *error)
{
    return thread_start(&meter->thread, beat, meter) == 0 ||
           error_set(error, ERROR_RUN,
                     "no thread for the measuring of costs can be made; raise the limit of processes");
}

static void meter_free(struct meter *meter)
{
    energy_close(meter->energy);
    pthread_cond_destroy(&meter->closing);
    pthread_mutex_destroy(&meter->lock);
    free(meter->path);
    free(meter);
}

bool meter_open(struct meter **meter, const char *folder, double started, const struct energy_places *places,
                struct error *error)
{
    struct meter *opened = calloc(1, sizeof *opened);
    struct utsname host;
    struct timespec now;
    pthread_condattr_t attributes;
    *meter = NULL;
    if (!opened)
        return error_memory(error, "the measuring of costs", sizeof *opened, NULL);
    uname(&host);
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(opened->session, sizeof opened->session, "%.64s-%ld-%lld.%09ld", host.nodename, (long)getpid(),
             (long long)now.tv_sec, now.tv_nsec);
    opened->path = attempt_path(folder);
    opened->started = started;
    opened->energy = energy_open(places);
    pthread_mutex_init(&opened->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&opened->closing, &attributes);
    pthread_condattr_destroy(&attributes);
    opened->began = read_locked(opened);
    if (start_thread(opened, error))
        *meter = opened;
    else
        meter_free(opened);
    return *meter != NULL;
}

void meter_close(struct meter *meter)
{
    if (!meter)
        return;
    pthread_mutex_lock(&meter->lock);
    meter->closed = true;
    pthread_cond_signal(&meter->closing);
    pthread_mutex_unlock(&meter->lock);
    pthread_join(meter->thread, NULL);
    struct error error = ERROR_INITIALIZER;
    if (!path_remove(meter->path, &error))
        log_line(NULL, "%s", error.message);
    meter_free(meter);
}
