#include "experiments/claims.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/thread.h"

struct claim {
    char *path; /* PATH.N */
    char *next; /* PATH.N+1: there once it was taken over */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t released;
    bool has_thread, ends;
};

/* ---- owners ------------------------------------------------------------------------------------------- */

/* When a process started, in ticks since its host did; 0: there is no such process. */
static long long process_start(long process)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", process);
    FILE *stream = fopen(path, "r");
    if (!stream)
        return 0;
    text[fread(text, 1, sizeof text - 1, stream)] = '\0';
    fclose(stream);
    const char *field = strrchr(text, ')'); /* ends the second field, the name */
    for (int i = 2; field && i < 22; i++) {
        field = strchr(field + 1, ' ');
        if (i == 2 && field && (field[1] == 'Z' || field[1] == 'X'))
            return 0;
    }
    return field ? strtoll(field, NULL, 10) : 0;
}

/* Where a process can be asked for by its number: the host since its last start, and the container. */
static void describe_place(char place[256])
{
    char boot[64] = "", space[64] = "";
    FILE *stream = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (stream) {
        if (fgets(boot, sizeof boot, stream))
            boot[strcspn(boot, "\n")] = '\0';
        fclose(stream);
    }
    const ssize_t length = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    space[length > 0 ? length : 0] = '\0';
    snprintf(place, 256, "%s %s", boot, space);
}

static json_t *describe_owner(void)
{
    struct utsname host;
    char place[256], when[32];
    const time_t now = time(NULL);
    struct tm parts;
    uname(&host);
    describe_place(place);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
    return json_pack("{s:s, s:I, s:I, s:s, s:s}", "host", host.nodename, "process", (json_int_t)getpid(),
                     "process_start", (json_int_t)process_start(getpid()), "place", place, "started", when);
}

/* A name beside `path` that no other process and no other call takes; malloc'ed. */
static char *own_name(const char *path)
{
    static atomic_int number;
    struct utsname host;
    uname(&host);
    return path_format("%s.of-%s-%ld-%d.tmp", path, host.nodename, (long)getpid(),
                       atomic_fetch_add(&number, 1));
}

/* The time now by the clock that stamps the files beside `path`; 0: it could not be told. */
static time_t server_time(const char *path)
{
    char *name = own_name(path);
    struct stat status;
    const int descriptor = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    const bool known = descriptor >= 0 && fstat(descriptor, &status) == 0;
    if (descriptor >= 0)
        close(descriptor);
    unlink(name);
    free(name);
    return known ? status.st_mtime : 0;
}

static bool was_touched_lately(const char *path)
{
    struct stat status;
    const time_t now = server_time(path);
    return stat(path, &status) != 0 || now == 0 || now - status.st_mtime < CLAIM_STALE_SECONDS;
}

/* Whether the owner of the file PATH.N lives. A file that cannot be read is judged by its time alone. */
static bool lives(const char *path, json_t **owner)
{
    char place[256];
    describe_place(place);
    *owner = json_load_file(path, 0, NULL);
    const char *theirs = json_string_value(json_object_get(*owner, "place"));
    if (!theirs || strcmp(theirs, place) != 0)
        return was_touched_lately(path);
    const json_int_t start = json_integer_value(json_object_get(*owner, "process_start"));
    return process_start((long)json_integer_value(json_object_get(*owner, "process"))) == start;
}

/* The highest N of the files PATH.N; -1: there is none. */
static int last_number(const char *path)
{
    for (int number = 0;; number++) {
        char *name = path_format("%s.%d", path, number);
        const bool present = path_exists(name);
        free(name);
        if (!present)
            return number - 1;
    }
}

bool claim_is_taken(const char *path, json_t **owner)
{
    json_t *found = NULL;
    const int number = last_number(path);
    char *name = path_format("%s.%d", path, number);
    const bool taken = number >= 0 && lives(name, &found);
    free(name);
    if (owner)
        *owner = taken ? json_incref(found) : NULL;
    json_decref(found);
    return taken;
}

/* ---- touching ----------------------------------------------------------------------------------------- */

static void *keep_touching(void *argument)
{
    struct claim *claim = argument;
    pthread_mutex_lock(&claim->lock);
    while (!claim->ends) {
        thread_wait(&claim->released, &claim->lock, CLAIM_TOUCH_SECONDS);
        if (!claim->ends)
            utimensat(AT_FDCWD, claim->path, NULL, 0);
    }
    pthread_mutex_unlock(&claim->lock);
    return NULL;
}

static bool start_touching(struct claim *claim, struct error *error)
{
    pthread_mutex_init(&claim->lock, NULL);
    pthread_cond_init(&claim->released, NULL);
    errno = thread_start(&claim->thread, keep_touching, claim);
    claim->has_thread = errno == 0;
    return claim->has_thread ||
           error_system(error, claim->path, "cannot start a thread for this claim", NULL);
}

/* ---- taking and letting go ---------------------------------------------------------------------------- */

/* Makes PATH.N with this process as its owner; *made: false when it was there before. A reply of the server may be lost,
 * so that the number of links tells what link() did. */
static bool make_file(bool *made, const char *path, const char *name, struct error *error)
{
    json_t *owner = describe_owner();
    char *text = owner ? json_dumps(owner, JSON_COMPACT) : NULL, *own = own_name(path);
    struct stat status;
    bool done = text ? file_write(own, text, strlen(text), error) : error_memory(error, "a claim", 0, NULL);
    if (done) {
        const bool linked = link(own, name) == 0;
        const int reason = errno;
        *made = linked || (stat(own, &status) == 0 && status.st_nlink == 2);
        errno = reason;
        done = *made || reason == EEXIST ||
               error_system(error, name, "cannot make this claim",
                            "the folder of a study must allow hard links, as ext4, xfs and NFS do");
    }
    unlink(own);
    free(own);
    free(text);
    json_decref(owner);
    return done;
}

bool claim_take(struct claim **claim, const char *path, struct error *error)
{
    *claim = NULL;
    json_t *owner = NULL;
    const int number = last_number(path);
    char *last = path_format("%s.%d", path, number), *name = path_format("%s.%d", path, number + 1);
    bool made = false, done = (number >= 0 && lives(last, &owner)) || make_file(&made, path, name, error);
    json_decref(owner);
    free(last);
    if (made) {
        *claim = calloc(1, sizeof **claim);
        done = *claim || error_memory(error, "a claim", sizeof **claim, NULL);
    }
    if (*claim) {
        (*claim)->path = path_format("%s", name);
        (*claim)->next = path_format("%s.%d", path, number + 2);
        done = start_touching(*claim, error);
        if (!done) {
            claim_release(*claim);
            *claim = NULL;
        }
    }
    free(name);
    return done;
}

void claim_forget(const char *path)
{
    if (claim_is_taken(path, NULL))
        return;
    for (int number = last_number(path); number >= 0; number--) {
        char *name = path_format("%s.%d", path, number);
        unlink(name);
        free(name);
    }
}

bool claim_is_held(struct claim *claim)
{
    return path_exists(claim->path) && !path_exists(claim->next);
}

void claim_release(struct claim *claim)
{
    if (!claim)
        return;
    if (claim->has_thread) {
        pthread_mutex_lock(&claim->lock);
        claim->ends = true;
        pthread_cond_signal(&claim->released);
        pthread_mutex_unlock(&claim->lock);
        pthread_join(claim->thread, NULL);
    }
    if (claim_is_held(claim))
        unlink(claim->path);
    pthread_mutex_destroy(&claim->lock);
    pthread_cond_destroy(&claim->released);
    free(claim->path);
    free(claim->next);
    free(claim);
}
