/*
 * energy.h: joules by the machine's own counters: of all processor packages (RAPL, which Linux shows below
 * /sys/class/powercap, of AMD's processors in the same form) and of one NVIDIA GPU (NVML). They count whatever runs on the
 * package or the GPU, of this program or not.
 *   Linux, Documentation/power/powercap/powercap.rst; NVML API reference, nvmlDeviceGetTotalEnergyConsumption
 */
#ifndef IDREC_CORE_ENERGY_H
#define IDREC_CORE_ENERGY_H

/* Where the counters are looked for. */
struct energy_places {
    const char *powercap; /* a folder with intel-rapl:N/{name, energy_uj, max_energy_range_uj} */
    const char *nvml;     /* a library, as dlopen() takes it */
    const char *pci_bus;  /* of the GPU in use, as NVML names it ("00000000:1b:00.0"); "": none is */
};
/* Those of the system. */
struct energy_places energy_places(const char *pci_bus);

struct energy;
/* NULL where no counter can be read, which is no error, or without memory. */
struct energy *energy_open(const struct energy_places *places);
/* NULL is fine for all of these. What is counted: "rapl", "nvml", "rapl+nvml"; NULL: nothing. */
const char *energy_source(const struct energy *energy);
/* Joules since energy_open(); NAN without counters, and from when one could not be read any more. A package's counter starts
 * from 0 again after max_energy_range_uj, at full load within minutes: call it at least every minute. */
double energy_joules(struct energy *energy);
void energy_close(struct energy *energy);

#endif
