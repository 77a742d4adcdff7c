/*
 * device_cases.h: every case of operator_cases.h on a CUDA backend against the CPU, by normalised mean square error
 * (squared error over squared size), with operands in f32 and, where an operator allows it, in bf16.
 */
#ifndef IDREC_TESTS_DEVICE_CASES_H
#define IDREC_TESTS_DEVICE_CASES_H

#include "tests/operator_storage.h"
#include "tests/support.h"

static void round_to_bf16(struct tensor *host)
{
    float *values = host->data;
    for (int64_t i = 0; i < tensor_count(host); i++)
        values[i] = bf16_value(bf16_nearest(values[i]));
}

/* The tensor's bytes on the host; *values its numbers as double. The caller frees both. */
static void *download_values(struct backend *backend, const struct tensor *tensor, double **values)
{
    const int64_t count = tensor_count(tensor);
    void *bytes = malloc(tensor_bytes(tensor) + 1);
    tensor_download(backend, bytes, tensor);
    *values = malloc(((size_t)count + 1) * sizeof **values);
    for (int64_t i = 0; i < count; i++)
        switch (tensor->dtype) {
        case DTYPE_F32:
            (*values)[i] = (double)((float *)bytes)[i];
            break;
        case DTYPE_F64:
            (*values)[i] = ((double *)bytes)[i];
            break;
        case DTYPE_BF16:
            (*values)[i] = (double)bf16_value(((uint16_t *)bytes)[i]);
            break;
        case DTYPE_I64:
            (*values)[i] = (double)((int64_t *)bytes)[i];
            break;
        case DTYPE_INT8: /* is no result: only its bytes count */
        case DTYPE_NF4:
            (*values)[i] = 0.0;
            break;
        default:
            (*values)[i] = (double)((int32_t *)bytes)[i];
        }
    return bytes;
}

/* A case on the device; in bf16, what is stored so is rounded beforehand, for the CPU too. */
static void open_pair(struct operator_case *on_cpu, struct operator_case *on_device, struct backend *cpu,
                      struct backend *device, const struct operator_family *family, const int64_t *size,
                      bool bf16)
{
    case_open(on_cpu, cpu, family, size);
    case_open(on_device, device, family, size);
    if (!bf16)
        return;
    store_in_bf16(on_device);
    for (int i = 0; i < on_cpu->count; i++) {
        if (on_device->tensors[i].dtype == DTYPE_BF16)
            round_to_bf16(&on_cpu->initial[i]);
        if (on_device->gradients[i].dtype == DTYPE_BF16)
            round_to_bf16(&on_cpu->upstream[i]);
    }
}

static void run_on_device(struct operator_case *c, const struct operator_case *inputs, struct backend *device)
{
    for (int i = 0; i < c->count; i++) {
        upload_values(device, &c->tensors[i], &inputs->initial[i]);
        upload_values(device, &c->gradients[i], &inputs->upstream[i]);
    }
    c->family->forward(device, c->tensors, c->size);
    if (c->family->backward)
        c->family->backward(device, c->tensors, c->gradients, c->size);
    struct error error = ERROR_INITIALIZER;
    require(backend_synchronize(device, &error), &error);
}

/* Squared error over the squared size of what is expected; differing infinities or not-a-number: infinite. */
static double normalised_error(const double *found, const double *expected, int64_t count)
{
    double error = 0.0, norm = 0.0;
    for (int64_t i = 0; i < count; i++) {
        if (found[i] == expected[i]) {
            norm += isfinite(expected[i]) ? expected[i] * expected[i] : 0.0;
            continue;
        }
        if (!isfinite(found[i]) || !isfinite(expected[i]))
            return INFINITY;
        error += (found[i] - expected[i]) * (found[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    return count == 0 ? 0.0 : error / (norm + 1e-12 * (double)count);
}

static double tensor_error(struct backend *cpu, const struct tensor *expected, struct backend *device,
                           const struct tensor *found)
{
    double *expected_values, *found_values;
    void *expected_bytes = download_values(cpu, expected, &expected_values);
    void *found_bytes = download_values(device, found, &found_values);
    const double error = normalised_error(found_values, expected_values, tensor_count(expected));
    free(expected_bytes);
    free(found_bytes);
    free(expected_values);
    free(found_values);
    return error;
}

static bool same_bits(struct backend *device, const struct tensor *a, const struct tensor *b)
{
    double *unused_a, *unused_b;
    void *bytes_a = download_values(device, a, &unused_a), *bytes_b = download_values(device, b, &unused_b);
    const bool same = memcmp(bytes_a, bytes_b, tensor_bytes(a)) == 0;
    free(bytes_a);
    free(bytes_b);
    free(unused_a);
    free(unused_b);
    return same;
}

/* The worst error over the results and gradients of a case, and in *worst the operand's name. */
static double case_error(struct operator_case *on_cpu, struct operator_case *on_device, struct backend *cpu,
                         struct backend *device, const char **worst)
{
    double largest = 0.0;
    *worst = "nothing";
    for (int i = 0; i < on_cpu->count; i++) {
        const bool result = on_cpu->operands[i].role == RESULT;
        if (!result && (on_cpu->operands[i].role != VARIABLE || !on_cpu->family->backward))
            continue;
        const double error = result
                                 ? tensor_error(cpu, &on_cpu->tensors[i], device, &on_device->tensors[i])
                                 : tensor_error(cpu, &on_cpu->gradients[i], device, &on_device->gradients[i]);
        if (!(error <= largest)) {
            largest = error;
            *worst = on_cpu->operands[i].name;
        }
    }
    return largest;
}

#endif
