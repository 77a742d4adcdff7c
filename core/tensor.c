#include "core/tensor.h"

#include <assert.h>

#include "core/quantize.h"

size_t dtype_size(enum dtype dtype)
{
    switch (dtype) {
    case DTYPE_BF16:
        return 2;
    case DTYPE_F32:
    case DTYPE_I32:
    case DTYPE_U32:
        return 4;
    case DTYPE_F64:
    case DTYPE_I64:
        return 8;
    case DTYPE_INT8:
    case DTYPE_NF4:
        break;
    }
    return 0;
}

const char *dtype_name(enum dtype dtype)
{
    static const char *const names[] = {"f32", "f64", "bf16", "i32", "i64", "u32", "int8", "nf4"};
    return names[dtype];
}

int64_t tensor_count(const struct tensor *tensor)
{
    int64_t count = 1;
    for (int axis = 0; axis < tensor->rank; axis++)
        count *= tensor->shape[axis];
    return count;
}

size_t tensor_bytes(const struct tensor *tensor)
{
    const int64_t count = tensor_count(tensor);
    return dtype_is_quantized(tensor->dtype) ? quantized_bytes(tensor->dtype, count)
                                             : (size_t)count * dtype_size(tensor->dtype);
}

struct tensor tensor_1d(void *data, enum dtype dtype, enum device_kind device, int64_t length)
{
    return (struct tensor){.data = data, .dtype = dtype, .device = device, .rank = 1, .shape = {length}};
}

struct tensor tensor_2d(void *data, enum dtype dtype, enum device_kind device, int64_t rows, int64_t columns)
{
    return (struct tensor){
        .data = data, .dtype = dtype, .device = device, .rank = 2, .shape = {rows, columns}};
}

struct tensor tensor_rows(const struct tensor *tensor, int64_t first, int64_t count)
{
    assert(!dtype_is_quantized(tensor->dtype) && tensor->rank >= 1 && first >= 0 &&
           first + count <= tensor->shape[0]);
    struct tensor view = *tensor;
    int64_t row = 1;
    for (int axis = 1; axis < tensor->rank; axis++)
        row *= tensor->shape[axis];
    view.data = (char *)tensor->data + (size_t)(first * row) * dtype_size(tensor->dtype);
    view.shape[0] = count;
    return view;
}
