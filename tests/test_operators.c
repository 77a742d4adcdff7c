/*
 * Every operator in single precision against plain double loops: forward directly, backward against central
 * differences of these loops. Also: the same bits with one and two threads, rows of products that do not
 * depend on the batch, and errors of shape that stick.
 */
#include <stdio.h>

#include "cuda/backend.h"
#include "tests/operator_cases.h"
#include "tests/support.h"

/* ---- the plain loops: v[i] are the operands in double, those of integers too ---- */

typedef void reference(double **v, size_numbers s);

static void gemm_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0]; i++)
        for (int64_t j = 0; j < s[1]; j++) {
            double sum = 0.0;
            for (int64_t l = 0; l < s[2]; l++)
                sum += v[0][s[3] ? l * s[0] + i : i * s[2] + l] * v[1][s[4] ? j * s[2] + l : l * s[1] + j];
            double *c = &v[2][i * s[1] + j];
            *c = s[5] ? 0.5 * sum + 0.5 * *c : sum;
        }
}

static void add_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0] * s[1]; i++)
        v[2][i] = v[0][i] + v[1][i];
}

static void axpby_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0] * s[1]; i++)
        v[1][i] = 0.75 * v[0][i] - 0.5 * v[1][i];
}

static double nearest_bf16(double value)
{
    int exponent;
    const double mantissa = frexp(value, &exponent);
    return ldexp(nearbyint(ldexp(mantissa, 8)), exponent - 8);
}

static void convert_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0] * s[1]; i++)
        v[1][i] = v[2][i] = nearest_bf16(v[0][i]);
}

static void dequantize_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0] * s[1]; i++)
        v[1][i] = v[0][i];
}

static void bias_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0] * s[1]; i++)
        v[2][i] = v[0][i] + v[1][i % s[1]];
}

static void swiglu_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0] * s[1]; i++)
        v[2][i] = v[0][i] / (1.0 + exp(-v[0][i])) * v[1][i];
}

static void activation_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0] * s[1]; i++) {
        const double x = v[0][i];
        v[1][i] = s[2] ? x * 0.5 * erfc(-x / sqrt(2.0)) : fmax(x, 0.0);
    }
}

static void linear_reference(double **v, size_numbers s)
{
    const double scale = 0.5;
    for (int64_t i = 0; i < s[0]; i++)
        for (int64_t j = 0; j < s[2]; j++) {
            double sum = v[2][j];
            for (int64_t l = 0; l < s[1]; l++)
                sum += v[0][i * s[1] + l] * v[1][j * s[1] + l];
            for (int64_t r = 0; r < s[3]; r++)
                for (int64_t l = 0; l < s[1]; l++)
                    sum += scale * v[0][i * s[1] + l] * v[4][r * s[1] + l] * v[5][j * s[3] + r];
            v[3][i * s[2] + j] = sum;
        }
}

static void gather_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0]; i++)
        for (int64_t j = 0; j < s[1]; j++)
            v[2][i * s[1] + j] = v[1][i] < 0.0 ? 0.0 : v[0][(int64_t)v[1][i] * s[1] + j];
}

static void within_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0]; i++)
        v[1][i] = v[0][i] < (double)s[2] || v[0][i] >= (double)(s[2] + s[3]) ? -1.0 : v[0][i] - (double)s[2];
}

static void columns_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0]; i++)
        for (int64_t j = 0; j < s[3]; j++)
            v[1][i * s[3] + j] = s[2] + j < s[1] ? v[0][i * s[1] + s[2] + j] : 0.0;
}

static void rmsnorm_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0]; i++) {
        double squares = 0.0;
        for (int64_t j = 0; j < s[1]; j++)
            squares += v[0][i * s[1] + j] * v[0][i * s[1] + j];
        for (int64_t j = 0; j < s[1]; j++)
            v[2][i * s[1] + j] = v[0][i * s[1] + j] / sqrt(squares / (double)s[1] + 1e-5) * v[1][j];
    }
}

static void layernorm_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[1]; i++) {
        const double *x = v[0] + i * s[0];
        double mean = 0.0, variance = 0.0;
        for (int64_t j = 0; j < s[0]; j++)
            mean += x[j] / (double)s[0];
        for (int64_t j = 0; j < s[0]; j++)
            variance += (x[j] - mean) * (x[j] - mean) / (double)s[0];
        for (int64_t j = 0; j < s[0]; j++)
            v[3][i * s[0] + j] = (x[j] - mean) / sqrt(variance + 1e-5) * v[1][j] + v[2][j];
    }
}

static void rope_reference(double **v, size_numbers s)
{
    const int64_t half = s[2] / 2;
    for (int64_t i = 0; i < s[0] * s[1]; i++)
        for (int64_t j = 0; j < half; j++) {
            const double angle = v[1][i / s[1]] * v[2][j];
            const double a = v[0][i * s[2] + j], b = v[0][i * s[2] + half + j];
            v[3][i * s[2] + j] = a * cos(angle) - b * sin(angle);
            v[3][i * s[2] + half + j] = a * sin(angle) + b * cos(angle);
        }
}

/* out [width] of one query over `count` keys, rows `stride` apart. */
static void attend(double *out, const double *q, const double *k, const double *v, int64_t count,
                   int64_t stride, int64_t width)
{
    double sum = 0.0;
    memset(out, 0, (size_t)width * sizeof *out);
    for (int64_t j = 0; j < count; j++) {
        double score = 0.0;
        for (int64_t i = 0; i < width; i++)
            score += q[i] * k[j * stride + i];
        const double weight = exp(score / sqrt((double)width));
        sum += weight;
        for (int64_t i = 0; i < width; i++)
            out[i] += weight * v[j * stride + i];
    }
    for (int64_t i = 0; i < width; i++)
        out[i] /= sum;
}

static void attention_reference(double **v, size_numbers s)
{
    const int64_t query_stride = s[2] * s[4], key_stride = s[3] * s[4];
    for (int64_t sequence = 0; sequence < s[1]; sequence++) {
        const int64_t first = (int64_t)v[3][sequence];
        const int64_t end = (int64_t)v[3][sequence + 1];
        for (int64_t token = first; token < end; token++)
            for (int64_t h = 0; h < s[2]; h++) {
                const int64_t place = token * query_stride + h * s[4];
                const int64_t keys = first * key_stride + h / (s[2] / s[3]) * s[4];
                attend(v[4] + place, v[0] + place, v[1] + keys, v[2] + keys,
                       (s[5] & BIDIRECTIONAL ? end : token + 1) - first, key_stride, s[4]);
            }
    }
}

static void decode_reference(double **v, size_numbers s)
{
    for (int64_t row = 0; row < s[0]; row++)
        for (int64_t h = 0; h < s[2] && v[3][row] >= 0.0; h++) {
            const int64_t place = (row * s[2] + h) * s[4];
            const int64_t keys = ((int64_t)v[3][row] * s[1] * s[3] + h / (s[2] / s[3])) * s[4];
            attend(v[5] + place, v[0] + place, v[1] + keys, v[2] + keys, (int64_t)v[4][row], s[3] * s[4],
                   s[4]);
        }
}

static void cache_reference(double **v, size_numbers s)
{
    for (int64_t row = 0; row < s[0]; row++)
        for (int64_t i = 0; i < s[2] && v[1][row] >= 0.0; i++)
            v[3][((int64_t)v[1][row] * s[1] + (int64_t)v[2][row]) * s[2] + i] = v[0][row * s[2] + i];
}

static double log_sum_exp(const double *x, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++)
        sum += exp(x[i]);
    return log(sum);
}

static void cross_entropy_reference(double **v, size_numbers s)
{
    for (int64_t row = 0; row < s[0]; row++) {
        const double *x = v[0] + row * s[1];
        v[2][row] = v[1][row] < 0.0 ? 0.0 : log_sum_exp(x, s[2]) - x[(int64_t)v[1][row]];
    }
}

static void set_reference(double **v, size_numbers s)
{
    for (int64_t row = 0; row < s[0]; row++) {
        const int64_t first = (int64_t)v[1][row], end = (int64_t)v[1][row + 1];
        double sum = 0.0;
        for (int64_t t = first; t < end; t++)
            sum += v[0][row * s[1] + (int64_t)v[2][t]];
        v[3][row] = first == end ? 0.0 : log_sum_exp(v[0] + row * s[1], s[2]) - sum / (double)(end - first);
    }
}

static void squares_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0]; i++)
        v[1][0] += v[0][i] * v[0][i];
}

static void clip_reference(double **v, size_numbers s)
{
    const double maximum = 0.25 * (double)(s[0] - 1);
    v[1][0] = maximum > 0.0 ? fmin(1.0, maximum / sqrt(v[0][0])) : 1.0;
}

static void adamw_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0]; i++) {
        const double g = v[0][i] * v[1][0];
        v[3][i] = 0.875 * v[3][i] + 0.125 * g;
        v[4][i] = 0.96875 * v[4][i] + 0.03125 * g * g;
        const double mean = v[3][i] / (1.0 - pow(0.875, 3)), square = v[4][i] / (1.0 - pow(0.96875, 3));
        v[2][i] = v[2][i] * (1.0 - 0.0625 * 0.125) - 0.0625 * mean / (sqrt(square) + 0.0009765625);
    }
}

static void spmm_reference(double **v, size_numbers s)
{
    for (int64_t row = 0; row < s[0]; row++)
        for (int64_t c = 0; c < s[3]; c++) {
            double sum = s[4] ? 0.5 * v[4][row * s[3] + c] : 0.0;
            for (int64_t j = (int64_t)v[0][row]; j < (int64_t)v[0][row + 1]; j++)
                sum += v[2][j] * v[3][(int64_t)v[1][j] * s[3] + c];
            v[4][row * s[3] + c] = sum;
        }
}

static void bpr_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0]; i++) {
        double difference = 0.0;
        for (int64_t c = 0; c < s[3]; c++)
            difference += v[0][(int64_t)v[2][i] * s[3] + c] *
                          (v[1][(int64_t)v[4][i] * s[3] + c] - v[1][(int64_t)v[3][i] * s[3] + c]);
        v[5][i] = difference > 30.0 ? difference : log1p(exp(difference));
    }
}

static void unit_rows_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0]; i++) {
        double squares = 0.0;
        for (int64_t c = 0; c < s[1]; c++)
            squares += v[0][i * s[1] + c] * v[0][i * s[1] + c];
        for (int64_t c = 0; c < s[1]; c++)
            v[1][i * s[1] + c] = v[0][i * s[1] + c] / fmax(sqrt(squares), UNIT_ROWS_SMALLEST);
    }
}

static void infonce_reference(double **v, size_numbers s)
{
    double *logits = malloc((size_t)s[2] * sizeof *logits);
    for (int64_t i = 0; i < s[0]; i++) {
        for (int64_t j = 0; j < s[2]; j++) {
            logits[j] = 0.0;
            for (int64_t c = 0; c < s[1]; c++)
                logits[j] += v[0][i * s[1] + c] * v[1][j * s[1] + c] / (double)INFONCE_TEMPERATURE;
        }
        v[3][i] = log_sum_exp(logits, s[2]) - logits[(int64_t)v[2][i]];
    }
    free(logits);
}

static bool is_excluded(const double *items, int64_t count, int64_t item)
{
    for (int64_t i = 0; i < count; i++)
        if ((int64_t)items[i] == item)
            return true;
    return false;
}

/* By listing the items that are left. */
static double draw_reference(struct random_stream *stream, const double *excluded, int64_t count,
                             int64_t items)
{
    int64_t negative = (int64_t)random_below(stream, (uint32_t)items);
    for (int attempt = 1; attempt < 64 && is_excluded(excluded, count, negative); attempt++)
        negative = (int64_t)random_below(stream, (uint32_t)items);
    if (!is_excluded(excluded, count, negative))
        return (double)negative;
    int64_t before = (int64_t)random_below(stream, (uint32_t)(items - count));
    for (negative = 0; before > 0 || is_excluded(excluded, count, negative); negative++)
        before -= !is_excluded(excluded, count, negative);
    return (double)negative;
}

/* The order from the permutation's own definition. */
static void triples_reference(double **v, size_numbers s)
{
    struct random_stream order = random_stream_open(TRIPLES_SEED, RANDOM_SHUFFLE, TRIPLES_EPOCH, 0);
    const struct random_permutation permutation = random_permutation_open(&order, (uint32_t)s[0]);
    for (int64_t place = 0; place < s[0]; place++) {
        const int64_t first = place - place % s[3], size = s[0] - first < s[3] ? s[0] - first : s[3];
        const uint32_t pair = random_permutation_at(&permutation, (uint32_t)place);
        double *triple = v[5] + 3 * first + (place - first);
        struct random_stream stream =
            random_stream_open(TRIPLES_SEED, RANDOM_NEGATIVE, TRIPLES_EPOCH, (uint64_t)place);
        const double *excluded = v[4] + (int64_t)v[3][(int64_t)v[0][pair]];
        triple[0] = v[0][pair];
        triple[size] = (double)s[1] + v[1][pair];
        triple[2 * size] = (double)s[1] + draw_reference(&stream, excluded, s[4], s[2]);
        v[6][place] = v[2][pair] / (double)size;
    }
}

static void candidates_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[1] * s[2]; i++) {
        v[3][i] = v[2][i] < 0.0 ? (double)EXCLUDED_LOGIT : 0.0;
        for (int64_t c = 0; c < s[0] && v[2][i] >= 0.0; c++)
            v[3][i] += v[0][i / s[2] * s[0] + c] * v[1][(int64_t)v[2][i] * s[0] + c];
    }
}

static double softplus(double x)
{
    return x > 30.0 ? x : log1p(exp(x));
}

static void candidate_loss_reference(double **v, size_numbers s)
{
    candidates_reference(v, s);
    for (int64_t row = 0; row < s[1]; row++) {
        v[4][row] = 0.0;
        for (int64_t j = 0; j < s[2]; j++) {
            const double score = v[3][row * s[2] + j];
            v[4][row] += v[2][row * s[2] + j] < 0.0 ? 0.0 : softplus(j == 0 ? -score : score);
        }
    }
}

static void binary_reference(double **v, size_numbers s)
{
    for (int64_t row = 0; row < s[1]; row++) {
        const double *scores = v[0] + row * s[0], power = (double)s[3] / 100.0;
        v[4][row] = 0.0;
        for (int64_t c = 0; c < s[0]; c++) {
            bool out = false;
            for (int64_t i = (int64_t)v[1][row]; i <= (int64_t)v[2][row]; i++)
                out |= (int64_t)v[3][i] == c;
            if (!out)
                v[4][row] += c == 0 ? power * softplus(-scores[0]) : softplus(scores[c]);
        }
    }
}

static void negatives_reference(double **v, size_numbers s)
{
    const int64_t groups = (s[2] + NEGATIVES_TOGETHER - 1) / NEGATIVES_TOGETHER;
    struct random_stream stream;
    for (int64_t row = 0; row < s[1]; row++) {
        double *chosen = v[4] + row * (1 + s[2]);
        chosen[0] = v[0][row];
        for (int64_t j = 0; j < s[2]; j++) {
            if (j % NEGATIVES_TOGETHER == 0)
                stream = random_stream_open(NEGATIVES_SEED, RANDOM_NEGATIVE, NEGATIVES_STEP,
                                            (uint64_t)((s[5] + row) * groups + j / NEGATIVES_TOGETHER));
            chosen[1 + j] = draw_reference(&stream, v[3] + (int64_t)v[2][(int64_t)v[1][row]], s[4], s[0]);
        }
    }
}

/* u of a column: word c % 64 / 16 of the Philox block c / 64 * 16 + c % 16. */
static double noise_uniform(int64_t row, int64_t column)
{
    const uint32_t key[2] = {NOISE_SEED, 0};
    const uint32_t counter[4] = {(uint32_t)(column / 64 * 16 + column % 16), (uint32_t)row, NOISE_STEP,
                                 RANDOM_NOISE | NOISE_SITE << 8};
    uint32_t words[4];
    philox4x32(counter, key, words);
    return ((double)(words[column % 64 / 16] >> 8) + 1.0) / 16777216.0;
}

static void row_noise_reference(double **v, size_numbers s)
{
    for (int64_t row = 0; row < s[1]; row++) {
        double squares = 0.0;
        for (int64_t c = 0; c < s[0]; c++)
            squares += pow(noise_uniform(row, c), 2.0);
        for (int64_t c = 0; c < s[0]; c++) {
            const double x = v[0][row * s[0] + c], sign = (double)(x > 0.0) - (double)(x < 0.0);
            v[1][row * s[0] + c] = x + sign * (double)NOISE_MAGNITUDE * noise_uniform(row, c) / sqrt(squares);
        }
    }
}

/* Selection by repeated search. */
static void topk_reference(double **v, size_numbers s)
{
    bool *out = malloc((size_t)s[1] * sizeof *out);
    for (int64_t row = 0; row < s[0]; row++) {
        memset(out, 0, (size_t)s[1] * sizeof *out);
        const int64_t mask = (int64_t)v[1][row];
        for (int64_t j = (int64_t)v[2][mask]; j < (int64_t)v[2][mask + 1]; j++)
            out[(int64_t)v[3][j]] = true;
        double last = NAN;
        for (int64_t rank = 0; rank <= s[2]; rank++) {
            int64_t best = -1;
            for (int64_t c = 0; c < s[1]; c++)
                if (!out[c] && (best < 0 || v[0][row * s[1] + c] > v[0][row * s[1] + best]))
                    best = c;
            if (rank == s[2]) {
                v[6][row] = best >= 0 && v[0][row * s[1] + best] == last;
                break;
            }
            last = best < 0 ? -INFINITY : v[0][row * s[1] + best];
            v[4][row * s[2] + rank] = (double)best;
            v[5][row * s[2] + rank] = last;
            if (best >= 0)
                out[best] = true;
        }
    }
    free(out);
}

static void log_softmax_reference(double **v, size_numbers s)
{
    const int64_t words = s[1] / 32 + 1;
    for (int64_t row = 0; row < s[0]; row++) {
        double *out = v[2] + row * s[1];
        for (int64_t c = 0; c < s[1]; c++) {
            const int64_t word = (int64_t)v[1][row * words + c / 32];
            out[c] = c >= s[2] || (!s[3] && word >> (c % 32) & 1) ? -INFINITY : v[0][row * s[1] + c];
        }
        const double log_sum = log_sum_exp(out, s[1]);
        for (int64_t c = 0; c < s[1]; c++)
            out[c] = out[c] == -INFINITY ? out[c] : out[c] - log_sum;
    }
}

static void share_reference(double **v, size_numbers s)
{
    const int64_t pairs = s[0], slot = s[1] * s[2];
    for (int64_t i = 0; i < pairs; i++)
        for (int64_t j = (int64_t)v[1][i] * s[2]; j < (int64_t)v[1][pairs + i] * s[2]; j++)
            v[2][(int64_t)v[0][i] * slot + j] = v[2][(int64_t)v[0][pairs + i] * slot + j];
}

static void advance_reference(double **v, size_numbers s)
{
    const int64_t words = s[1] / 32 + 1;
    for (int64_t row = 0; row < s[0]; row++) {
        const int64_t token = (int64_t)v[9][row], place = row * s[2] + (int64_t)v[4][row] % s[2];
        if (v[5][row] < 0.0)
            continue;
        if (token >= 0 && token != ADVANCE_END) {
            double *word = &v[6][row * words + token / 32];
            if (!s[4])
                *word = (double)((uint32_t)*word | 1u << token % 32);
            v[7][place] = v[0][row] = (double)token;
            v[8][place] = v[10][row];
            v[1][row]++;
            v[2][row]++;
            if (++v[4][row] < (double)s[3])
                continue;
        }
        v[3][row] = v[5][row] = -1.0;
    }
}

static void mean_reference(double **v, size_numbers s)
{
    for (int64_t group = 0; group < s[2]; group++)
        for (int64_t c = 0; c < s[1]; c++) {
            double *mean = &v[2][group * s[1] + c];
            for (int64_t row = (int64_t)v[1][group]; row < (int64_t)v[1][group + 1]; row++)
                *mean += exp(v[0][row * s[1] + c]);
            *mean = s[3] > 0 ? log(*mean / (double)s[3]) : *mean;
        }
}

static void pick_reference(double **v, size_numbers s)
{
    for (int64_t i = 0; i < s[0] * s[2]; i++)
        v[2][i] = v[1][i] < 0.0 ? -INFINITY : v[0][i / s[2] * s[1] + (int64_t)v[1][i]];
}

static const struct {
    const char *family;
    reference *loops;
} references[] = {
    {"gemm", gemm_reference},
    {"add", add_reference},
    {"axpby", axpby_reference},
    {"convert", convert_reference},
    {"dequantize", dequantize_reference},
    {"bias", bias_reference},
    {"activation", activation_reference},
    {"linear", linear_reference},
    {"gather", gather_reference},
    {"rows_within", within_reference},
    {"columns", columns_reference},
    {"rmsnorm", rmsnorm_reference},
    {"layernorm", layernorm_reference},
    {"rope", rope_reference},
    {"attention", attention_reference},
    {"attention_decode", decode_reference},
    {"cache_store", cache_reference},
    {"cache_share", share_reference},
    {"swiglu", swiglu_reference},
    {"cross_entropy", cross_entropy_reference},
    {"cross_entropy_set", set_reference},
    {"sum_of_squares", squares_reference},
    {"clip_scale", clip_reference},
    {"adamw", adamw_reference},
    {"csr_spmm", spmm_reference},
    {"bpr_loss", bpr_reference},
    {"unit_rows", unit_rows_reference},
    {"infonce_loss", infonce_reference},
    {"sample_triples", triples_reference},
    {"candidate_logits", candidates_reference},
    {"candidate_loss", candidate_loss_reference},
    {"binary_cross_entropy", binary_reference},
    {"sample_negatives", negatives_reference},
    {"row_noise", row_noise_reference},
    {"topk_masked", topk_reference},
    {"log_softmax_masked", log_softmax_reference},
    {"advance", advance_reference},
    {"pick", pick_reference},
    {"mean_probability", mean_reference},
};
enum { REFERENCE_COUNT = (int)(sizeof references / sizeof references[0]) };

static reference *reference_of(const char *family)
{
    for (int i = 0; i < REFERENCE_COUNT; i++)
        if (strcmp(references[i].family, family) == 0)
            return references[i].loops;
    return NULL;
}

/* ---- comparison ---- */

static double bf16_number(uint16_t stored)
{
    const uint32_t bits = (uint32_t)stored << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

/* By the definition of the two formats and the table as it was published. */
static double quantized_number(const struct tensor *tensor, int64_t i)
{
    static const double published[] = {-1.0,
                                       -0.6961928009986877,
                                       -0.5250730514526367,
                                       -0.39491748809814453,
                                       -0.28444138169288635,
                                       -0.18477343022823334,
                                       -0.09105003625154495,
                                       0.0,
                                       0.07958029955625534,
                                       0.16093020141124725,
                                       0.24611230194568634,
                                       0.33791524171829224,
                                       0.44070982933044434,
                                       0.5626170039176941,
                                       0.7229568362236023,
                                       1.0};
    const bool narrow = tensor->dtype == DTYPE_NF4;
    const int64_t count = tensor_count(tensor), bytes = narrow ? (count + 1) / 2 : count;
    const unsigned char *codes = tensor->data;
    float absmax;
    memcpy(&absmax, codes + (bytes + 15) / 16 * 16 + i / 64 * 4, sizeof absmax);
    if (!narrow)
        return (double)(signed char)codes[i] / 127.0 * (double)absmax;
    return published[i % 2 ? codes[i / 2] % 16 : codes[i / 2] / 16] * (double)absmax;
}

static double element(const struct tensor *tensor, int64_t i)
{
    switch (tensor->dtype) {
    case DTYPE_F32:
        return (double)((const float *)tensor->data)[i];
    case DTYPE_F64:
        return ((const double *)tensor->data)[i];
    case DTYPE_I64:
        return (double)((const int64_t *)tensor->data)[i];
    case DTYPE_U32:
        return (double)((const uint32_t *)tensor->data)[i];
    case DTYPE_BF16:
        return bf16_number(((const uint16_t *)tensor->data)[i]);
    case DTYPE_INT8:
    case DTYPE_NF4:
        return quantized_number(tensor, i);
    default:
        return (double)((const int32_t *)tensor->data)[i];
    }
}

static void values_reset(const struct operator_case *c, double **values)
{
    for (int i = 0; i < c->count; i++)
        for (int64_t j = 0; j < tensor_count(&c->initial[i]); j++)
            values[i][j] = element(&c->initial[i], j);
}

static double squared_error(double found, double expected)
{
    if (found == expected) /* infinities too */
        return 0.0;
    return (found - expected) * (found - expected);
}

static void assert_close(const struct operator_case *c, const char *what, int operand, double error,
                         double norm, double tolerance)
{
    if (!(sqrt(error) <= tolerance * (sqrt(norm) + 1e-6)))
        fail_msg("%s size {%lld, %lld, %lld, ...}: %s %s is off by %.3g of %.3g", c->family->name,
                 (long long)c->size[0], (long long)c->size[1], (long long)c->size[2], what,
                 c->operands[operand].name, sqrt(error), sqrt(norm));
}

static void check_forward(struct operator_case *c, struct backend *backend, reference *loops, double **values)
{
    case_reset(c, backend);
    c->family->forward(backend, c->tensors, c->size);
    values_reset(c, values);
    loops(values, c->size);
    for (int i = 0; i < c->count; i++) {
        double error = 0.0, norm = 0.0;
        if (c->operands[i].role != RESULT)
            continue;
        for (int64_t j = 0; j < tensor_count(&c->tensors[i]); j++) {
            error += squared_error(element(&c->tensors[i], j), values[i][j]);
            norm += isfinite(values[i][j]) ? values[i][j] * values[i][j] : 0.0;
        }
        assert_close(c, "result", i, error, norm, 2e-6);
    }
}

static double objective(const struct operator_case *c, reference *loops, double **values)
{
    double sum = 0.0;
    loops(values, c->size);
    for (int i = 0; i < c->count; i++)
        if (c->operands[i].role == RESULT)
            for (int64_t j = 0; j < tensor_count(&c->upstream[i]); j++)
                sum += values[i][j] * element(&c->upstream[i], j);
    return sum;
}

static void check_backward(struct operator_case *c, struct backend *backend, reference *loops,
                           double **values)
{
    enum { ELEMENTS = 3 };
    const double step = 1e-5;
    c->family->backward(backend, c->tensors, c->gradients, c->size);
    for (int i = 0; i < c->count; i++) {
        if (c->operands[i].role != VARIABLE)
            continue;
        const int64_t count = tensor_count(&c->tensors[i]), stride = count / ELEMENTS + 1;
        double error = 0.0, norm = 0.0;
        for (int64_t j = 0; j < count; j += stride) {
            values_reset(c, values);
            values[i][j] += step;
            const double above = objective(c, loops, values);
            values[i][j] -= 2.0 * step;
            const double expected = (above - objective(c, loops, values)) / (2.0 * step);
            error += squared_error(element(&c->gradients[i], j), expected);
            norm += expected * expected + 1e-3;
        }
        assert_close(c, "gradient of", i, error, norm, 3e-5);
    }
}

static void close_backend(struct backend *backend)
{
    struct error error = ERROR_INITIALIZER;
    require(backend_synchronize(backend, &error), &error);
    backend_close(backend);
}

/* The loops of `linear` know no dropout. */
static bool has_loops(const struct operator_family *family, size_numbers size)
{
    return reference_of(family->name) && !(strcmp(family->name, "linear") == 0 && size[4] > 0);
}

static void operators_equal_plain_loops(void **state)
{
    (void)state;
    struct backend *backend = open_backend(2);
    int with_loops = 0;
    for (int f = 0; f < FAMILY_COUNT; f++) {
        const struct operator_family *family = &operator_families[f];
        with_loops += reference_of(family->name) != NULL;
        for (int s = 0; family->sizes[s][0] > 0; s++) {
            if (!has_loops(family, family->sizes[s]))
                continue;
            struct operator_case c;
            double *values[OPERANDS_MAXIMUM];
            case_open(&c, backend, family, family->sizes[s]);
            for (int i = 0; i < c.count; i++)
                values[i] = calloc((size_t)tensor_count(&c.tensors[i]) + 1, sizeof(double));
            check_forward(&c, backend, reference_of(family->name), values);
            if (family->backward)
                check_backward(&c, backend, reference_of(family->name), values);
            for (int i = 0; i < c.count; i++)
                free(values[i]);
            case_close(&c, backend);
        }
    }
    assert_int_equal(with_loops, REFERENCE_COUNT);
    close_backend(backend);
}

/* ---- determinism ---- */

static void run_case(struct operator_case *c, struct backend *backend)
{
    case_reset(c, backend);
    c->family->forward(backend, c->tensors, c->size);
    if (c->family->backward)
        c->family->backward(backend, c->tensors, c->gradients, c->size);
}

static void threads_do_not_change_bits(void **state)
{
    (void)state;
    struct backend *one = open_backend(1), *two = open_backend(2), *five = open_backend(5);
    struct backend *const others[] = {two, five};
    for (int f = 0; f < FAMILY_COUNT; f++)
        for (int s = 0; operator_families[f].sizes[s][0] > 0; s++) {
            struct operator_case expected;
            case_open(&expected, one, &operator_families[f], operator_families[f].sizes[s]);
            run_case(&expected, one);
            for (int other = 0; other < 2; other++) {
                struct operator_case c;
                case_open(&c, others[other], &operator_families[f], operator_families[f].sizes[s]);
                run_case(&c, others[other]);
                for (int i = 0; i < c.count; i++)
                    if (memcmp(c.tensors[i].data, expected.tensors[i].data, tensor_bytes(&c.tensors[i])) !=
                            0 ||
                        memcmp(c.gradients[i].data, expected.gradients[i].data,
                               tensor_bytes(&c.tensors[i])) != 0)
                        fail_msg("%s size %d: %s depends on the number of threads", c.family->name, s,
                                 c.operands[i].name);
                case_close(&c, others[other]);
            }
            case_close(&expected, one);
        }
    close_backend(one);
    close_backend(two);
    close_backend(five);
}

/* A product whose row `place` is the given one and all others differ from call to call. */
static void product_row(struct backend *backend, float *result, const float *row, const float *b, int64_t m,
                        int64_t n, int64_t k, int64_t place, enum transpose transpose_b)
{
    float *a = malloc((size_t)(m * k) * sizeof *a), *c = malloc((size_t)(m * n) * sizeof *c);
    struct random_stream random = random_stream_open((uint64_t)place, RANDOM_TEST, (uint64_t)m, 0);
    for (int64_t i = 0; i < m * k; i++)
        a[i] = random_float(&random) - 0.5f;
    memcpy(a + place * k, row, (size_t)k * sizeof *a);
    struct tensor tc = tensor_2d(c, DTYPE_F32, DEVICE_CPU, m, n);
    const struct tensor ta = tensor_2d(a, DTYPE_F32, DEVICE_CPU, m, k);
    const struct tensor tb = transpose_b ? tensor_2d((void *)b, DTYPE_F32, DEVICE_CPU, n, k)
                                         : tensor_2d((void *)b, DTYPE_F32, DEVICE_CPU, k, n);
    op_gemm(backend, &tc, &ta, PLAIN, &tb, transpose_b, 1.0f, 0.0f);
    memcpy(result, c + place * n, (size_t)n * sizeof *c);
    free(a);
    free(c);
}

static void product_rows_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    static const int64_t shapes[][2] = {{8, 64},     {24, 512},  {64, 64},    {64, 96},
                                        {128, 128},  {352, 128}, {128, 352},  {512, 512},
                                        {1683, 128}, {1700, 64}, {12101, 96}, {41000, 64}};
    enum { BLOCK = GEMM_ROW_BLOCK };
    static const int64_t places[][2] = {
        {BLOCK, 0},       {BLOCK, 1},      {BLOCK, BLOCK - 1},           {2 * BLOCK, 64},
        {3 * BLOCK, 100}, {11 * BLOCK, 5}, {12 * BLOCK, 12 * BLOCK - 1}, {43 * BLOCK, 42 * BLOCK + 7}};
    struct backend *backend = open_backend(2);
    for (size_t shape = 0; shape < sizeof shapes / sizeof shapes[0]; shape++)
        for (int transpose_b = 0; transpose_b < 2; transpose_b++) {
            const int64_t n = shapes[shape][0], k = shapes[shape][1];
            float *b = malloc((size_t)(n * k) * sizeof *b), *row = malloc((size_t)k * sizeof *row);
            float *expected = malloc((size_t)n * sizeof *expected),
                  *found = malloc((size_t)n * sizeof *found);
            struct random_stream random = random_stream_open(1, RANDOM_TEST, 1, 1);
            for (int64_t i = 0; i < n * k; i++)
                b[i] = random_float(&random) - 0.5f;
            for (int64_t i = 0; i < k; i++)
                row[i] = random_float(&random) - 0.5f;
            for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
                if (places[p][0] * n > 8000000)
                    continue;
                product_row(backend, p ? found : expected, row, b, places[p][0], n, k, places[p][1],
                            transpose_b ? TRANSPOSED : PLAIN);
                if (p && memcmp(found, expected, (size_t)n * sizeof *found) != 0)
                    fail_msg("n %lld, k %lld, transposed %d: row %lld of %lld has other bits", (long long)n,
                             (long long)k, transpose_b, (long long)places[p][1], (long long)places[p][0]);
            }
            free(b);
            free(row);
            free(expected);
            free(found);
        }
    close_backend(backend);
}

/* ---- dropout ---- */

static void dropout_keeps_its_share(void **state)
{
    (void)state;
    enum { ROWS = 400, COLUMNS = 257, COUNT = ROWS * COLUMNS };
    struct backend *backend = open_backend(2);
    float *x = malloc(COUNT * sizeof *x), *y = malloc(2 * COUNT * sizeof *y);
    for (int i = 0; i < COUNT; i++)
        x[i] = 1.0f;
    const struct tensor input = tensor_2d(x, DTYPE_F32, DEVICE_CPU, ROWS, COLUMNS);
    for (uint64_t site = 0; site < 2; site++) {
        struct tensor output = tensor_2d(y + site * COUNT, DTYPE_F32, DEVICE_CPU, ROWS, COLUMNS);
        op_dropout(backend, &output, &input, 0.25f, 1, 2, site, 0);
    }
    int kept = 0, both = 0;
    for (int i = 0; i < COUNT; i++) {
        assert_true(y[i] == 0.0f || y[i] == 1.0f / 0.75f);
        kept += y[i] > 0.0f;
        both += y[i] > 0.0f && y[COUNT + i] > 0.0f;
    }
    assert_true(fabs((double)kept / COUNT - 0.75) < 5.0 * sqrt(0.75 * 0.25 / COUNT));
    assert_true(fabs((double)both / COUNT - 0.5625) < 5.0 * sqrt(0.5625 * 0.4375 / COUNT));
    free(x);
    free(y);
    close_backend(backend);
}

/* Rows that ranks have divided are dropped as all of them together. */
static void dropout_of_a_part_is_part_of_the_dropout(void **state)
{
    (void)state;
    enum { ROWS = 9, FIRST = 4, COLUMNS = 257 };
    struct backend *backend = open_backend(1);
    float x[ROWS * COLUMNS], all[ROWS * COLUMNS], part[(ROWS - FIRST) * COLUMNS];
    for (int i = 0; i < ROWS * COLUMNS; i++)
        x[i] = (float)i + 1.0f;
    const struct tensor input = tensor_2d(x, DTYPE_F32, DEVICE_CPU, ROWS, COLUMNS);
    const struct tensor last_rows = tensor_rows(&input, FIRST, ROWS - FIRST);
    struct tensor output = tensor_2d(all, DTYPE_F32, DEVICE_CPU, ROWS, COLUMNS);
    struct tensor part_output = tensor_2d(part, DTYPE_F32, DEVICE_CPU, ROWS - FIRST, COLUMNS);
    op_dropout(backend, &output, &input, 0.5f, 1, 2, 3, 0);
    op_dropout(backend, &part_output, &last_rows, 0.5f, 1, 2, 3, FIRST);
    assert_memory_equal(part, all + FIRST * COLUMNS, sizeof part);
    assert_memory_not_equal(part, all, sizeof part);
    close_backend(backend);
}

/* ---- errors ---- */

static void shape_errors_stick(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    struct backend *backend = open_backend(1);
    float values[12] = {0};
    struct tensor c = tensor_2d(values, DTYPE_F32, DEVICE_CPU, 2, 2);
    const struct tensor a = tensor_2d(values + 4, DTYPE_F32, DEVICE_CPU, 2, 3);
    const struct tensor one = tensor_2d(values + 4, DTYPE_F32, DEVICE_CPU, 2, 2);
    op_gemm(backend, &c, &a, PLAIN, &a, PLAIN, 1.0f, 0.0f);
    values[4] = 1.0f;
    op_add(backend, &c, &one, &one);
    assert_true(values[0] == 0.0f);
    assert_false(backend_synchronize(backend, &error));
    assert_non_null(strstr(error.message, "op_gemm: b is f32 [2, 3], expected f32 [3, 2]"));
    op_add(backend, &c, &one, &one);
    error = ERROR_INITIALIZER;
    assert_true(backend_synchronize(backend, &error));
    assert_true(values[0] == 2.0f);
    const struct tensor elsewhere = {values, DTYPE_F32, DEVICE_CUDA, 2, {2, 2}};
    op_add(backend, &c, &elsewhere, &one);
    assert_false(backend_synchronize(backend, &error));
    assert_non_null(strstr(error.message, "another device"));
    backend_close(backend);
}

static void expect_complaint(struct backend *backend, const char *expected)
{
    struct error error = ERROR_INITIALIZER;
    assert_false(backend_synchronize(backend, &error));
    if (!strstr(error.message, expected))
        fail_msg("'%s' does not say '%s'", error.message, expected);
}

static void operators_of_recommenders_check_their_operands(void **state)
{
    (void)state;
    struct backend *backend = open_backend(1);
    float values[12] = {0};
    int32_t numbers[6] = {0};
    int64_t starts[2] = {0};
    struct tensor x = tensor_2d(values, DTYPE_F32, DEVICE_CPU, 2, 3), empty = x;
    struct tensor three = tensor_1d(values, DTYPE_F32, DEVICE_CPU, 3);
    struct tensor two = tensor_1d(values, DTYPE_F32, DEVICE_CPU, 2);
    struct tensor candidates = tensor_2d(numbers, DTYPE_I32, DEVICE_CPU, 2, 3);
    struct tensor owners = tensor_1d(numbers, DTYPE_I32, DEVICE_CPU, 2);
    struct tensor owner_starts = tensor_1d(starts, DTYPE_I64, DEVICE_CPU, 2);
    const struct negative_source no_items = {&owners, &owners, &owner_starts, &owners, 0, 0};
    empty.shape[1] = 0;
    op_layernorm_forward(backend, &x, &three, &two, &x, &three, &three, 1e-5f);
    expect_complaint(backend, "op_layernorm_forward: mean is f32 [3], expected f32 [2]");
    op_activation_forward(backend, &x, &x, (enum activation)2);
    expect_complaint(backend, "ACTIVATION_GELU");
    op_candidate_logits_forward(backend, &x, &x, &x, &x);
    expect_complaint(backend, "op_candidate_logits_forward: candidates is f32 [2, 3], expected i32 [2, 3]");
    op_candidate_logits_backward(backend, &x, &three, &x, &x, &x, &candidates);
    expect_complaint(backend, "op_candidate_logits_backward: d_table is f32 [3]");
    op_binary_cross_entropy(backend, &empty, &two, &two, 1.0f);
    expect_complaint(backend, "a column for the positive");
    op_sample_negatives(backend, &candidates, no_items, 1, 1);
    expect_complaint(backend, "items must be in 1 .. 2^31 - 1");
    op_row_noise(backend, &x, &x, 0.1f, 1, 1, UINT64_C(1) << 24);
    expect_complaint(backend, "site must be below 2^24");
    backend_close(backend);
}

static void unavailable_devices_say_why(void **state)
{
    (void)state;
    struct error error = ERROR_INITIALIZER;
    if (cuda_device_count(&error) == 0) {
        char promised[sizeof error.message + 16];
        snprintf(promised, sizeof promised, "device cuda: %s", error.message);
        error = ERROR_INITIALIZER;
        assert_null(backend_open("cuda", 0, &error));
        assert_int_equal(error.kind, ERROR_RUN);
        assert_string_equal(error.message, promised);
        assert_true(strstr(promised, "built without CUDA") || strstr(promised, "driver") ||
                    strstr(promised, "GPU"));
    }
    error = ERROR_INITIALIZER;
    assert_null(backend_open("cuda:9999", 0, &error));
    assert_non_null(strstr(error.message, "device cuda"));
    static const char *const unknown[] = {"gpu", "cuda:", "cuda:-1", "cuda:1x", "cuda1", ""};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        error = ERROR_INITIALIZER;
        assert_null(backend_open(unknown[i], 0, &error));
        assert_int_equal(error.kind, ERROR_USAGE);
        assert_non_null(strstr(error.message, "cuda:N"));
    }
}

int main(int argument_count, char **arguments)
{
    (void)argument_count;
    backend_prepare_process(arguments);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_equal_plain_loops),
        cmocka_unit_test(threads_do_not_change_bits),
        cmocka_unit_test(product_rows_do_not_depend_on_the_batch),
        cmocka_unit_test(dropout_keeps_its_share),
        cmocka_unit_test(dropout_of_a_part_is_part_of_the_dropout),
        cmocka_unit_test(shape_errors_stick),
        cmocka_unit_test(operators_of_recommenders_check_their_operands),
        cmocka_unit_test(unavailable_devices_say_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
