/* A library with the part of NVML's interface that core/energy.c calls: one GPU, whose counter is the number in the file that
 * STAND_IN_NVML names; without a number it cannot be read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetHandleByPciBusId_v2(const char *pci_bus, void **device);
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules);

enum { UNKNOWN = 999, NOT_FOUND = 6, UNINITIALIZED = 1 };

static int users, gpu;

int nvmlInit_v2(void)
{
    users++;
    return 0;
}

int nvmlShutdown(void)
{
    return users-- > 0 ? 0 : UNINITIALIZED;
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *pci_bus, void **device)
{
    *device = &gpu;
    return users == 0 ? UNINITIALIZED : strcmp(pci_bus, "00000000:1b:00.0") == 0 ? 0 : NOT_FOUND;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules)
{
    const char *path = getenv("STAND_IN_NVML");
    FILE *stream = path && device == &gpu && users > 0 ? fopen(path, "r") : NULL;
    const int read = stream ? fscanf(stream, "%llu", millijoules) : 0;
    if (stream)
        fclose(stream);
    return read == 1 ? 0 : UNKNOWN;
}
