#include "experiments/plot.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"

bool plot_begin(struct plot *plot, const char *folder, char *name, int height, struct error *error)
{
    *plot = (struct plot){.folder = folder, .name = name};
    plot->stream = open_memstream(&plot->script, &plot->length);
    if (plot->stream == NULL) {
        free(name);
        return error_memory(error, "a plot", 0, NULL);
    }
    char id[64];
    snprintf(id, sizeof id, "%s", name);
    for (char *c = id; *c != '\0'; c++)
        if (*c == '-' || *c == '.')
            *c = '_';
    fprintf(plot->stream,
            "set terminal svg size %d,%d dynamic noenhanced font 'sans-serif,14' background rgb 'white' "
            "name '%s'\n"
            "set output '%s.svg.part'\nset key tmargin left horizontal reverse Left width -4 samplen 1.5\n"
            "set grid lc rgb '#dddddd'\n",
            PLOT_WIDTH, height, id, name);
    return true;
}

void plot_write_text(FILE *stream, const char *text)
{
    fputc('\'', stream);
    for (; *text != '\0'; text++)
        fputs((char[]){*text, *text == '\'' ? '\'' : '\0', '\0'}, stream);
    fputc('\'', stream);
}

void plot_write_steps(FILE *stream, double low, double high)
{
    if (high == low) /* gnuplot would widen the axis with a warning */
        fprintf(stream, "set xrange [%.9g:%.9g]\n", low - (low != 0 ? fabs(low) / 10 : 1),
                high + (high != 0 ? fabs(high) / 10 : 1));
    if (!(high > low))
        return;
    const double rough = (high - low) / 4, unit = pow(10, floor(log10(rough)));
    const double step = rough > 5 * unit   ? 10 * unit
                        : rough > 2 * unit ? 5 * unit
                        : rough > unit     ? 2 * unit
                                           : unit;
    fprintf(stream, "set xtics %.9g\nset offsets graph 0.04, graph 0.04, 0, 0\n", step);
}

/* The last line that gnuplot wrote, which says what is wrong. */
static bool complain_of_gnuplot(const char *folder, const char *script, const char *messages,
                                struct error *error)
{
    char *text = NULL, *path = path_format("%s/%s", folder, messages);
    size_t length = 0;
    struct error ignored = ERROR_INITIALIZER;
    const char *last = "it told no reason";
    if (file_read(path, &text, &length, &ignored)) {
        while (length > 0 && strchr("\n ", text[length - 1]))
            text[--length] = '\0';
        const char *line = strrchr(text, '\n');
        last = line ? line + 1 : length > 0 ? text : last;
    }
    error_set(error, ERROR_RUN, "gnuplot failed on %s/%s: %.400s", folder, script, last);
    free(text);
    free(path);
    return false;
}

/* Runs gnuplot in plots/, which writes what it says to a file. *found: false where there is none. */
static bool run_gnuplot(const char *folder, const char *script, const char *messages, bool *found,
                        struct error *error)
{
    posix_spawn_file_actions_t actions;
    char *arguments[] = {"gnuplot", (char *)script, NULL};
    pid_t child;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, folder);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, messages, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    int problem = posix_spawnp(&child, "gnuplot", &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    *found = problem != ENOENT;
    if (problem == ENOENT)
        return true;
    if (problem != 0) {
        errno = problem;
        return error_system(error, "gnuplot", "cannot be started", NULL);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return (WIFEXITED(status) && WEXITSTATUS(status) == 0) ||
           complain_of_gnuplot(folder, script, messages, error);
}

bool plot_end(struct plot *plot, bool *found, struct error *error)
{
    char *folder = path_format("%s/plots", plot->folder);
    char *script_name = path_format("%s.gnuplot", plot->name),
         *script = path_format("%s/%s", folder, script_name);
    char *part = path_format("%s/%s.svg.part", folder, plot->name),
         *svg = path_format("%s/%s.svg", folder, plot->name);
    char *messages_name = path_format("%s.messages", plot->name),
         *messages = path_format("%s/%s", folder, messages_name);
    bool done = fclose(plot->stream) == 0
                    ? folder_create(folder, error) && file_write(script, plot->script, plot->length, error) &&
                          run_gnuplot(folder, script_name, messages_name, found, error)
                    : error_memory(error, "a plot", plot->length, NULL);
    done = path_remove(messages, error) && done;
    if (done && *found && rename(part, svg) != 0)
        done = error_system(error, svg, "cannot be written", NULL);
    free(messages);
    free(messages_name);
    free(svg);
    free(part);
    free(script);
    free(script_name);
    free(folder);
    free(plot->script);
    free(plot->name);
    return done;
}

void plot_discard(struct plot *plot)
{
    fclose(plot->stream);
    free(plot->script);
    free(plot->name);
}
