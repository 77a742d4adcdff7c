#include "cuda/scan.cuh"

enum { THREADS = 256, ITEMS = 8, TILE = THREADS * ITEMS, TILES_OF_ONE_BLOCK = 2 };

/* One tile: values[first ..] become exclusive sums that begin at `before`. Returns the tile's total. */
static __device__ uint32_t scan_tile(uint32_t *values, int64_t first, int64_t count, uint32_t before)
{
    const int64_t own = first + (int64_t)threadIdx.x * ITEMS;
    uint32_t items[ITEMS], sum = 0, total;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        items[i] = own + i < count ? values[own + i] : 0;
        sum += items[i];
    }
    uint32_t next = before + block_exclusive_sum(sum, &total);
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        if (own + i < count)
            values[own + i] = next;
        next += items[i];
    }
    return total;
}

/* One block goes over all tiles. */
__global__ void scan_serial_kernel(uint32_t *values, int64_t count)
{
    uint32_t before = 0;
    for (int64_t first = 0; first < count; first += TILE)
        before += scan_tile(values, first, count, before);
}

__global__ void tile_totals_kernel(uint32_t *totals, const uint32_t *values, int64_t count)
{
    const int64_t first = (int64_t)blockIdx.x * TILE;
    uint32_t sum = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        const int64_t place = first + i * THREADS + threadIdx.x;
        sum += place < count ? values[place] : 0;
    }
    const uint32_t total = block_sum(sum);
    if (threadIdx.x == 0)
        totals[blockIdx.x] = total;
}

__global__ void scan_tiles_kernel(uint32_t *values, const uint32_t *before, int64_t count)
{
    scan_tile(values, (int64_t)blockIdx.x * TILE, count, before[blockIdx.x]);
}

size_t exclusive_scan_bytes(int64_t count)
{
    return ((size_t)blocks_for(count, TILE) * sizeof(uint32_t) + 255) / 256 * 256;
}

void exclusive_scan(struct backend *backend, uint32_t *values, int64_t count, void *memory)
{
    const unsigned tiles = blocks_for(count, TILE);
    if (tiles <= TILES_OF_ONE_BLOCK) {
        LAUNCH(backend, scan_serial_kernel, dim3(1), dim3(THREADS), 0, values, count);
        return;
    }
    uint32_t *totals = static_cast<uint32_t *>(memory);
    LAUNCH(backend, tile_totals_kernel, dim3(tiles), dim3(THREADS), 0, totals, values, count);
    LAUNCH(backend, scan_serial_kernel, dim3(1), dim3(THREADS), 0, totals, (int64_t)tiles);
    LAUNCH(backend, scan_tiles_kernel, dim3(tiles), dim3(THREADS), 0, values, totals, count);
}
