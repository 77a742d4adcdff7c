#include "core/trace.h"

#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/comm.h"
#include "core/file.h"

struct span {
    enum trace_line line;
    double begun, ended; /* clock_seconds() */
    int64_t bytes;       /* -1: none */
    char name[48];
};
_Static_assert(sizeof(struct span) % sizeof(int64_t) == 0, "spans are sent as whole numbers");

struct trace {
    char *path;
    pthread_mutex_t lock;
    int steps_left;
    struct span *spans; /* [capacity] */
    int64_t count, capacity;
    bool full; /* there was no memory for a span */
};

static bool folder_exists(const char *path)
{
    char *folder = path_format("%s", path);
    char *const slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    const bool exists = !slash || path_exists(folder);
    free(folder);
    return exists;
}

bool trace_open(struct trace **trace, const char *path, struct error *error)
{
    const bool exists = folder_exists(path);
    *trace = NULL;
    if (!exists)
        return error_at(error, ERROR_USAGE, path, 0, "the folder of the trace does not exist; make it first");
    struct trace *made = calloc(1, sizeof *made);
    if (!made)
        return error_memory(error, "a trace", sizeof *made, NULL);
    made->path = path_format("%s", path);
    pthread_mutex_init(&made->lock, NULL);
    *trace = made;
    return true;
}

void trace_close(struct trace *trace)
{
    if (!trace)
        return;
    pthread_mutex_destroy(&trace->lock);
    free(trace->spans);
    free(trace->path);
    free(trace);
}

/* ---- recording ------------------------------------------------------------------------------------------ */

bool trace_is_on(const struct trace *trace)
{
    return trace && trace->steps_left > 0;
}

void trace_begin_steps(struct trace *trace)
{
    if (trace)
        trace->steps_left = TRACE_STEPS;
}

bool trace_end_step(struct trace *trace)
{
    return trace_is_on(trace) && --trace->steps_left == 0;
}

static struct span *new_span(struct trace *trace)
{
    if (trace->count == trace->capacity) {
        const int64_t capacity = 2 * trace->capacity + 256;
        struct span *spans = realloc(trace->spans, (size_t)capacity * sizeof *spans);
        trace->full = trace->full || !spans;
        if (!spans)
            return NULL;
        trace->spans = spans;
        trace->capacity = capacity;
    }
    return &trace->spans[trace->count++];
}

void trace_add(struct trace *trace, enum trace_line line, double begun, int64_t bytes, const char *format,
               ...)
{
    const double now = clock_seconds();
    if (!trace_is_on(trace))
        return;
    pthread_mutex_lock(&trace->lock);
    struct span *const span = new_span(trace);
    if (span) {
        *span = (struct span){.line = line, .begun = begun, .ended = now, .bytes = bytes};
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(span->name, sizeof span->name, format, arguments);
        va_end(arguments);
    }
    pthread_mutex_unlock(&trace->lock);
}

/* ---- the file ------------------------------------------------------------------------------------------- */

/* Another rank's spans as they come: text that is padded to whole numbers. */
static bool receive_spans(struct communicator *communicator, int rank, struct span **spans, int64_t *count,
                          char host[64], struct error *error)
{
    struct tensor length = tensor_1d(count, DTYPE_I64, DEVICE_CPU, 1);
    struct tensor name = tensor_1d(host, DTYPE_I64, DEVICE_CPU, 8);
    *spans = NULL;
    if (!comm_receive(communicator, &length, rank, error) || !comm_receive(communicator, &name, rank, error))
        return false;
    *spans = calloc((size_t)*count + 1, sizeof **spans);
    if (!*spans)
        return error_memory(error, "the trace of a rank", (size_t)*count * sizeof **spans, NULL);
    struct tensor all =
        tensor_1d(*spans, DTYPE_I64, DEVICE_CPU, *count * (int64_t)(sizeof **spans / sizeof(int64_t)));
    return comm_receive(communicator, &all, rank, error);
}

static bool send_spans(struct communicator *communicator, struct span *spans, int64_t count,
                       struct error *error)
{
    const struct tensor length = tensor_1d(&count, DTYPE_I64, DEVICE_CPU, 1);
    const struct tensor name = tensor_1d(communicator->host, DTYPE_I64, DEVICE_CPU, 8);
    const struct tensor all =
        tensor_1d(spans, DTYPE_I64, DEVICE_CPU, count * (int64_t)(sizeof *spans / sizeof(int64_t)));
    return comm_send(communicator, &length, 0, error) && comm_send(communicator, &name, 0, error) &&
           comm_send(communicator, &all, 0, error);
}

/* Names of the rank and of its two lines. */
static void add_names(json_t *events, int rank, const char *host)
{
    static const char *const lines[] = {"computes", "exchanges"};
    json_array_append_new(events,
                          json_pack("{s:s, s:s, s:i, s:{s:o}}", "name", "process_name", "ph", "M", "pid",
                                    rank, "args", "name", json_sprintf("rank %d on %s", rank, host)));
    for (int line = 0; line < 2; line++)
        json_array_append_new(events, json_pack("{s:s, s:s, s:i, s:i, s:{s:s}}", "name", "thread_name", "ph",
                                                "M", "pid", rank, "tid", line, "args", "name", lines[line]));
}

static void add_spans(json_t *events, int rank, const struct span *spans, int64_t count)
{
    static const char *const lines[] = {"compute", "exchange"};
    for (int64_t i = 0; i < count; i++) {
        const struct span *const span = &spans[i];
        json_t *event = json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:f}", "name", span->name, "cat",
                                  lines[span->line], "ph", "X", "pid", rank, "tid", (int)span->line, "ts",
                                  span->begun * 1e6, "dur", (span->ended - span->begun) * 1e6);
        if (span->bytes >= 0)
            json_object_set_new(event, "args", json_pack("{s:I}", "bytes", (json_int_t)span->bytes));
        json_array_append_new(events, event);
    }
}

static bool write_events(const struct trace *trace, json_t *events, struct error *error)
{
    json_t *file = json_pack("{s:O, s:s}", "traceEvents", events, "displayTimeUnit", "ms");
    char *text = json_dumps(file, JSON_REAL_PRECISION(12) | JSON_COMPACT);
    const bool written =
        text ? file_write(trace->path, text, strlen(text), error)
             : error_memory(error, "a trace", (size_t)trace->count * sizeof(struct span), NULL);
    free(text);
    json_decref(file);
    return written;
}

/* Moves the times so that the first of all ranks is 0. They count from a barrier, which all ranks leave at about the
 * same time. */
static bool set_clocks(struct span *spans, int64_t count, struct communicator *communicator,
                       struct error *error)
{
    double least = 0;
    if (communicator && !comm_barrier(communicator, error))
        return false;
    const double now = clock_seconds();
    for (int64_t i = 0; i < count; i++)
        least = fmin(least, spans[i].begun - now);
    least = -least;
    struct tensor longest = tensor_1d(&least, DTYPE_F64, DEVICE_CPU, 1);
    if (communicator && !comm_all_reduce(communicator, &longest, COMM_MAXIMUM, error))
        return false;
    for (int64_t i = 0; i < count; i++) {
        spans[i].begun += least - now;
        spans[i].ended += least - now;
    }
    return true;
}

/* The spans of this rank, then those of the others as they come. */
static bool gather_events(const struct trace *trace, const struct span *own,
                          struct communicator *communicator, json_t *events, struct error *error)
{
    bool done = true;
    add_names(events, 0, communicator ? communicator->host : "this machine");
    add_spans(events, 0, own, trace->count);
    for (int rank = 1; done && communicator && rank < communicator->size; rank++) {
        struct span *spans;
        int64_t count = 0;
        char host[64];
        done = receive_spans(communicator, rank, &spans, &count, host, error);
        if (done) {
            add_names(events, rank, host);
            add_spans(events, rank, spans, count);
        }
        free(spans);
    }
    return done;
}

bool trace_write(struct trace *trace, struct communicator *communicator, struct error *error)
{
    if (!trace)
        return true;
    struct communicator *ranks = communicator && communicator->size > 1 ? communicator : NULL;
    const size_t bytes = ((size_t)trace->count + 1) * sizeof(struct span);
    struct span *own = malloc(bytes);
    if (!own || trace->full) {
        free(own);
        return error_memory(error, "a trace", bytes, NULL);
    }
    if (trace->count > 0)
        memcpy(own, trace->spans, bytes - sizeof *own);
    bool done = set_clocks(own, trace->count, ranks, error);
    if (done && ranks && ranks->rank > 0) {
        done = send_spans(ranks, own, trace->count, error);
    } else if (done) {
        json_t *events = json_array();
        done = gather_events(trace, own, ranks, events, error) && write_events(trace, events, error);
        json_decref(events);
    }
    free(own);
    return done;
}
