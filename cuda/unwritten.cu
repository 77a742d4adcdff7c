/* Operators that are not written yet. Each is deleted from here as it is written; the file goes with the last. */
#include "cuda/device.cuh"

#define UNWRITTEN(name) error_set(&backend->error, ERROR_RUN, "device cuda: %s is not written yet", #name)
