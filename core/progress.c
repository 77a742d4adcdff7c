#include "core/progress.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"

struct log {
    char *folder;          /* NULL: silent */
    FILE *lines, *metrics; /* NULL until something is written */
};

/* Opens a file of the log when its first line is written, so that none is empty. */
static FILE *open_for_appending(FILE **stream, const struct log *log, const char *name)
{
    if (*stream)
        return *stream;
    char *path = path_format("%s/%s", log->folder, name);
    *stream = fopen(path, "ae");
    free(path);
    return *stream;
}

struct log *log_open(const char *folder)
{
    if (!folder)
        return NULL;
    struct log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    log->folder = path_format("%s", folder);
    return log;
}

struct log *log_open_silent(void)
{
    return calloc(1, sizeof(struct log));
}

static bool is_silent(const struct log *log)
{
    return log && !log->folder;
}

void log_close(struct log *log)
{
    if (!log)
        return;
    if (log->lines)
        fclose(log->lines);
    if (log->metrics)
        fclose(log->metrics);
    free(log->folder);
    free(log);
}

/* Appends "date time text" to log.txt. */
static void log_text(struct log *log, const char *text)
{
    if (!log || !open_for_appending(&log->lines, log, "log.txt"))
        return;
    char stamp[32];
    const time_t now = time(NULL);
    struct tm parts;
    strftime(stamp, sizeof stamp, "%Y-%m-%d %H:%M:%S", localtime_r(&now, &parts));
    fprintf(log->lines, "%s %s\n", stamp, text);
    fflush(log->lines);
}

void log_line(struct log *log, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (is_silent(log))
        return;
    fprintf(stderr, "%s\n", text);
    log_text(log, text);
}

void log_piece(struct log *log, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (is_silent(log))
        return;
    if (isatty(STDERR_FILENO) != 1)
        fprintf(stderr, "%s\n", text);
    log_text(log, text);
}

void log_metric(struct log *log, const char *stage, int64_t step, int count, const char *const *names,
                const double *values)
{
    if (!log || is_silent(log) || !open_for_appending(&log->metrics, log, "metrics.jsonl"))
        return;
    json_t *record = json_pack("{s:s, s:I}", "stage", stage, "step", (json_int_t)step);
    for (int i = 0; record && i < count; i++)
        json_object_set_new(record, names[i], isfinite(values[i]) ? json_real(values[i]) : json_null());
    char *text = record ? json_dumps(record, JSON_COMPACT) : NULL;
    if (text)
        fprintf(log->metrics, "%s\n", text);
    fflush(log->metrics);
    free(text);
    json_decref(record);
}

struct progress {
    struct log *log;
    char stage[64], unit[32];
    int64_t total, done, first; /* first: what was done when counting the rate began (resumed work) */
    double started, drawn;
    bool terminal, counting;
};

struct progress *progress_start(struct log *log, const char *stage, const char *unit, int64_t total)
{
    struct progress *progress = is_silent(log) ? NULL : calloc(1, sizeof *progress);
    if (!progress)
        return NULL;
    progress->log = log;
    snprintf(progress->stage, sizeof progress->stage, "%s", stage);
    snprintf(progress->unit, sizeof progress->unit, "%s", unit);
    progress->total = total;
    progress->started = progress->drawn = clock_seconds();
    progress->terminal = isatty(STDERR_FILENO) == 1;
    return progress;
}

/* 950, 12.3k, 4.56M, ... */
static void format_count(char *text, size_t size, double count)
{
    static const char *const suffix[] = {"", "k", "M", "G", "T"};
    int scale = 0;
    while (count >= 999.5 && scale < 4) {
        count /= 1000.0;
        scale++;
    }
    snprintf(text, size, "%.*f%s",
             scale == 0 || count >= 100.0 ? 0
             : count >= 10.0              ? 1
                                          : 2,
             count, suffix[scale]);
}

static void format_duration(char *text, size_t size, double seconds)
{
    if (seconds < 100.0)
        snprintf(text, size, "%.*f s", seconds < 10.0 ? 1 : 0, seconds);
    else if (seconds < 6000.0)
        snprintf(text, size, "%d min %02d s", (int)seconds / 60, (int)seconds % 60);
    else
        snprintf(text, size, "%d h %02d min", (int)(seconds / 3600.0), (int)(seconds / 60.0) % 60);
}

static void draw(struct progress *progress, double now, const char *detail)
{
    char done[16], total[16], count[16], rate[24] = "", left[32] = "";
    const double elapsed = now - progress->started;
    const double speed = elapsed > 0.0 ? (double)(progress->done - progress->first) / elapsed : 0.0;
    format_count(done, sizeof done, (double)progress->done);
    format_count(count, sizeof count, speed);
    if (speed >= 1.0)
        snprintf(rate, sizeof rate, ", %s/s", count);
    char line[512];
    if (progress->total > 0) {
        const double share = fmin(1.0, (double)progress->done / (double)progress->total);
        char bar[21];
        for (int i = 0; i < 20; i++)
            bar[i] = i < (int)(20.0 * share) ? '=' : ' ';
        bar[20] = '\0';
        format_count(total, sizeof total, (double)progress->total);
        if (speed > 0.0) {
            char duration[24];
            format_duration(duration, sizeof duration, (double)(progress->total - progress->done) / speed);
            snprintf(left, sizeof left, ", %s left", duration);
        }
        snprintf(line, sizeof line, "%s: %s%s%s%3.0f %% %s of %s %s%s%s%s%s", progress->stage,
                 progress->terminal ? "[" : "", progress->terminal ? bar : "", progress->terminal ? "] " : "",
                 100.0 * share, done, total, progress->unit, rate, left, *detail ? ", " : "", detail);
    } else {
        snprintf(line, sizeof line, "%s: %s %s%s%s%s", progress->stage, done, progress->unit, rate,
                 *detail ? ", " : "", detail);
    }
    if (progress->terminal)
        fprintf(stderr, "\r\033[K%s", line);
    else
        fprintf(stderr, "%s\n", line);
    fflush(stderr);
    progress->drawn = now;
}

void progress_update(struct progress *progress, int64_t done, const char *detail, ...)
{
    if (!progress)
        return;
    if (!progress->counting) {
        progress->counting = true;
        progress->first = done;
    }
    progress->done = done;
    const double now = clock_seconds();
    if (now - progress->drawn < (progress->terminal ? 0.1 : 5.0))
        return;
    char text[256] = "";
    if (detail) {
        va_list arguments;
        va_start(arguments, detail);
        vsnprintf(text, sizeof text, detail, arguments);
        va_end(arguments);
    }
    draw(progress, now, text);
}

void progress_finish(struct progress *progress, const char *summary, ...)
{
    if (!progress)
        return;
    if (progress->terminal)
        fprintf(stderr, "\r\033[K");
    if (summary) {
        char text[512];
        va_list arguments;
        va_start(arguments, summary);
        vsnprintf(text, sizeof text, summary, arguments);
        va_end(arguments);
        log_line(progress->log, "%s: %s", progress->stage, text);
    }
    free(progress);
}
