/* cuda/nccl.h against NCCL's own header: the compiler refuses other numbers, sizes or types. */
#include <nccl.h>

#include "cuda/nccl.h"

#define COMPARE(name, number) static_assert(name == number, "cuda/nccl.h has another number");
NCCL_NUMBERS(COMPARE)
static_assert(sizeof(ncclUniqueId) == 128 && alignof(ncclUniqueId) == 1,
              "cuda/nccl.h has another ncclUniqueId");
