#include <cblas.h>
#include <jansson.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/comm.h"
#include "cuda/backend.h"
#include "experiments/command.h"

/* The value of the first line of /proc/cpuinfo that begins with `key`, or "". */
static void processor_line(const char *key, char *value, size_t size)
{
    value[0] = '\0';
    FILE *stream = fopen("/proc/cpuinfo", "r");
    if (!stream)
        return;
    char line[8192];
    while (fgets(line, sizeof line, stream)) {
        const char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)) != 0)
            continue;
        snprintf(value, size, "%s", colon + 1 + strspn(colon + 1, " "));
        value[strcspn(value, "\n")] = '\0';
        break;
    }
    fclose(stream);
}

/* The vector and matrix extensions among the processor's flags. */
static json_t *processor_extensions(void)
{
    static const char *const wanted[] = {"avx2",        "fma",         "avx512f",  "avx512bw",
                                         "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile"};
    char flags[8192];
    processor_line("flags", flags, sizeof flags);
    json_t *extensions = json_array();
    char *rest = NULL;
    for (char *flag = strtok_r(flags, " ", &rest); flag; flag = strtok_r(NULL, " ", &rest))
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
            if (strcmp(flag, wanted[i]) == 0)
                json_array_append_new(extensions, json_string(flag));
    return extensions;
}

static json_t *describe_cpu(void)
{
    char model[256];
    processor_line("model name", model, sizeof model);
    return json_pack(
        "{s:b, s:s, s:I, s:i, s:I, s:o, s:s, s:s}", "available", 1, "processor", model, "processors",
        (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "threads", omp_get_max_threads(), "memory_bytes",
        (json_int_t)sysconf(_SC_PHYS_PAGES) * (json_int_t)sysconf(_SC_PAGESIZE), "extensions",
        processor_extensions(), "blas", openblas_get_config(), "blas_kernels", openblas_get_corename());
}

static json_t *describe_gpu(int index)
{
    struct cuda_device_description gpu;
    struct error reason = ERROR_INITIALIZER;
    char address[24], capability[24];
    snprintf(address, sizeof address, "cuda:%d", index);
    if (!cuda_describe_device(&gpu, index, &reason))
        return json_pack("{s:s, s:b, s:s}", "device", address, "available", 0, "reason", reason.message);
    snprintf(capability, sizeof capability, "%d.%d", gpu.major, gpu.minor);
    return json_pack("{s:s, s:b, s:s, s:s, s:i, s:I, s:I}", "device", address, "available", 1, "name",
                     gpu.name, "compute_capability", capability, "multiprocessors", gpu.multiprocessors,
                     "memory_bytes", (json_int_t)gpu.memory_bytes, "free_memory_bytes",
                     (json_int_t)gpu.free_bytes);
}

static json_t *describe_cuda(void)
{
    struct error reason = ERROR_INITIALIZER;
    const int count = cuda_device_count(&reason);
    json_t *cuda =
        json_pack("{s:b, s:s, s:[]}", "available", count > 0, "build", cuda_build_description(), "devices");
    for (int index = 0; index < count; index++)
        json_array_append_new(json_object_get(cuda, "devices"), describe_gpu(index));
    if (count == 0)
        json_object_set_new(cuda, "reason", json_string(reason.message));
    return cuda;
}

static double gibibytes(const json_t *object, const char *key)
{
    return (double)json_integer_value(json_object_get(object, key)) / (1024.0 * 1024.0 * 1024.0);
}

static void print_cpu(const json_t *cpu)
{
    printf("cpu: %s, %lld processors, %lld threads in use, %.1f GiB of memory\n",
           json_string_value(json_object_get(cpu, "processor")),
           (long long)json_integer_value(json_object_get(cpu, "processors")),
           (long long)json_integer_value(json_object_get(cpu, "threads")), gibibytes(cpu, "memory_bytes"));
    printf("     extensions:");
    size_t index;
    json_t *extension;
    json_array_foreach(json_object_get(cpu, "extensions"), index, extension)
        printf(" %s", json_string_value(extension));
    printf("\n     matrix products: %s, kernels for %s\n", json_string_value(json_object_get(cpu, "blas")),
           json_string_value(json_object_get(cpu, "blas_kernels")));
}

static void print_gpu(const json_t *gpu)
{
    const char *device = json_string_value(json_object_get(gpu, "device"));
    const char *reason = json_string_value(json_object_get(gpu, "reason"));
    if (reason)
        printf("%s: not available: %s\n", device, reason);
    else
        printf("%s: %s, compute capability %s, %lld multiprocessors, %.1f GiB of memory, %.1f GiB free\n",
               device, json_string_value(json_object_get(gpu, "name")),
               json_string_value(json_object_get(gpu, "compute_capability")),
               (long long)json_integer_value(json_object_get(gpu, "multiprocessors")),
               gibibytes(gpu, "memory_bytes"), gibibytes(gpu, "free_memory_bytes"));
}

static void print_cuda(const json_t *cuda)
{
    const char *reason = json_string_value(json_object_get(cuda, "reason"));
    size_t index;
    json_t *gpu;
    printf("cuda: %s\n", json_string_value(json_object_get(cuda, "build")));
    if (reason)
        printf("      not available: %s\n", reason);
    json_array_foreach(json_object_get(cuda, "devices"), index, gpu) print_gpu(gpu);
}

static json_t *describe_ranks(void)
{
    char build[128], gpus[512];
    cuda_describe_ranks(gpus, sizeof gpus);
    return json_pack("{s:b, s:s, s:s}", "available", comm_is_built_in(), "build",
                     comm_build_description(build, sizeof build), "gpus", gpus);
}

static void print_ranks(const json_t *ranks)
{
    printf("ranks: %s; between GPUs: %s\n", json_string_value(json_object_get(ranks, "build")),
           json_string_value(json_object_get(ranks, "gpus")));
}

bool command_devices(const struct invocation *invocation, struct error *error)
{
    json_t *devices = json_pack("{s:o, s:o, s:o}", "cpu", describe_cpu(), "cuda", describe_cuda(), "ranks",
                                describe_ranks());
    if (!devices)
        return error_memory(error, "the list of devices", 0, NULL);
    if (invocation->option[0]) {
        json_dumpf(devices, stdout, JSON_INDENT(1));
        putchar('\n');
    } else {
        print_cpu(json_object_get(devices, "cpu"));
        print_cuda(json_object_get(devices, "cuda"));
        print_ranks(json_object_get(devices, "ranks"));
    }
    json_decref(devices);
    return true;
}
