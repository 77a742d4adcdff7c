#include "core/energy.h"

#include <dirent.h>
#include <dlfcn.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"

enum { PACKAGES_MAXIMUM = 64 };

struct package {
    char *path; /* of energy_uj */
    uint64_t range, last;
};

/* What is called of NVML, by the names and types of its header. */
struct nvml {
    void *library, *device;
    int (*init)(void), (*shutdown)(void);
    int (*find)(const char *pci_bus, void **device);
    int (*read)(void *device, unsigned long long *millijoules);
    unsigned long long last;
};

struct energy {
    int package_count;
    struct package packages[PACKAGES_MAXIMUM];
    struct nvml nvml;
    bool lost; /* a counter could be read, and cannot any more */
    double joules;
};

struct energy_places energy_places(const char *pci_bus)
{
    return (struct energy_places){
        .powercap = "/sys/class/powercap", .nvml = "libnvidia-ml.so.1", .pci_bus = pci_bus};
}

/* ---- packages ----------------------------------------------------------------------------------------- */

static bool read_number(uint64_t *number, const char *path)
{
    FILE *stream = fopen(path, "re");
    if (!stream)
        return false;
    const bool read = fscanf(stream, "%" SCNu64, number) == 1;
    fclose(stream);
    return read;
}

static bool read_number_in(uint64_t *number, const char *folder, const char *name)
{
    char *path = path_format("%s/%s", folder, name);
    const bool read = read_number(number, path);
    free(path);
    return read;
}

/* Whether a domain is a whole package: not the platform ("psys"), which would count packages twice. */
static bool is_package(const char *folder)
{
    char *path = path_format("%s/name", folder), name[32] = "";
    FILE *stream = fopen(path, "re");
    free(path);
    if (!stream)
        return false;
    const bool read = fgets(name, sizeof name, stream) != NULL;
    fclose(stream);
    return read && strncmp(name, "package-", 8) == 0;
}

/* intel-rapl:N, and not its parts intel-rapl:N:M nor the second way to the same counters, intel-rapl-mmio:N. */
static bool is_domain(const char *name)
{
    static const char prefix[] = "intel-rapl:";
    return strncmp(name, prefix, sizeof prefix - 1) == 0 && !strchr(name + sizeof prefix - 1, ':');
}

/* False: there is a package that cannot be read, or one too many. */
static bool add_package(struct energy *energy, const char *folder)
{
    if (!is_package(folder))
        return true;
    struct package package;
    if (energy->package_count == PACKAGES_MAXIMUM ||
        !read_number_in(&package.range, folder, "max_energy_range_uj") ||
        !read_number_in(&package.last, folder, "energy_uj"))
        return false;
    package.path = path_format("%s/energy_uj", folder);
    energy->packages[energy->package_count++] = package;
    return true;
}

static void forget_packages(struct energy *energy)
{
    for (int i = 0; i < energy->package_count; i++)
        free(energy->packages[i].path);
    energy->package_count = 0;
}

/* All packages or none: a part of them would look like the whole. */
static void find_packages(struct energy *energy, const char *powercap)
{
    DIR *listing = opendir(powercap);
    bool readable = listing != NULL;
    for (struct dirent *entry; readable && (entry = readdir(listing));) {
        if (!is_domain(entry->d_name))
            continue;
        char *folder = path_format("%s/%s", powercap, entry->d_name);
        readable = add_package(energy, folder);
        free(folder);
    }
    if (listing)
        closedir(listing);
    if (!readable)
        forget_packages(energy);
}

static bool count_package(double *joules, struct package *package)
{
    uint64_t now;
    if (!read_number(&now, package->path))
        return false;
    *joules +=
        1e-6 * (double)(now >= package->last ? now - package->last : now + (package->range - package->last));
    package->last = now;
    return true;
}

/* ---- GPU ---------------------------------------------------------------------------------------------- */

static bool find_function(void *function, void *library, const char *name)
{
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static void forget_gpu(struct nvml *nvml)
{
    if (nvml->library)
        dlclose(nvml->library);
    *nvml = (struct nvml){NULL};
}

static void find_gpu(struct nvml *nvml, const struct energy_places *places)
{
    nvml->library = *places->pci_bus ? dlopen(places->nvml, RTLD_NOW | RTLD_LOCAL) : NULL;
    if (!nvml->library)
        return;
    if (!find_function(&nvml->init, nvml->library, "nvmlInit_v2") ||
        !find_function(&nvml->shutdown, nvml->library, "nvmlShutdown") ||
        !find_function(&nvml->find, nvml->library, "nvmlDeviceGetHandleByPciBusId_v2") ||
        !find_function(&nvml->read, nvml->library, "nvmlDeviceGetTotalEnergyConsumption") ||
        nvml->init() != 0) {
        forget_gpu(nvml);
    } else if (nvml->find(places->pci_bus, &nvml->device) != 0 ||
               nvml->read(nvml->device, &nvml->last) != 0) {
        nvml->shutdown();
        forget_gpu(nvml);
    }
}

/* The counter starts with the driver and is not reset while a program uses the GPU. */
static bool count_gpu(double *joules, struct nvml *nvml)
{
    unsigned long long now;
    if (nvml->read(nvml->device, &now) != 0 || now < nvml->last)
        return false;
    *joules += 1e-3 * (double)(now - nvml->last);
    nvml->last = now;
    return true;
}

/* ---- both --------------------------------------------------------------------------------------------- */

struct energy *energy_open(const struct energy_places *places)
{
    struct energy *energy = calloc(1, sizeof *energy);
    if (!energy)
        return NULL;
    find_packages(energy, places->powercap);
    find_gpu(&energy->nvml, places);
    if (energy_source(energy))
        return energy;
    energy_close(energy);
    return NULL;
}

const char *energy_source(const struct energy *energy)
{
    if (!energy)
        return NULL;
    if (energy->package_count > 0)
        return energy->nvml.library ? "rapl+nvml" : "rapl";
    return energy->nvml.library ? "nvml" : NULL;
}

double energy_joules(struct energy *energy)
{
    if (!energy)
        return NAN;
    for (int i = 0; i < energy->package_count; i++)
        energy->lost = !count_package(&energy->joules, &energy->packages[i]) || energy->lost;
    if (energy->nvml.library)
        energy->lost = !count_gpu(&energy->joules, &energy->nvml) || energy->lost;
    return energy->lost ? NAN : energy->joules;
}

void energy_close(struct energy *energy)
{
    if (!energy)
        return;
    forget_packages(energy);
    if (energy->nvml.library)
        energy->nvml.shutdown();
    forget_gpu(&energy->nvml);
    free(energy);
}
