/* Products of activations and N:M weights with NEON: what docs/kernels.md says of ARM.
 *
 * Freestanding: no library, no static data, no allocation; runs on every AArch64 processor. A tile
 * is ROWS outputs that share a mask by VECTORS vectors of samples; its sums stay in registers. Each
 * activation that the mask keeps is loaded once, and multiplied by the weights of all rows, a lane
 * of a vector each. STEP kept elements are taken together: their places are one list (`prepare`
 * decodes them), so the loop is unrolled by STEP whatever N and M are. Instances are made for each
 * ROWS and VECTORS, for singles and for halves, which fcvtl widens as they are loaded.
 *
 * Sums begin at 0 and take kept elements in ascending order, one fused multiply-add each; blocks
 * of the reduction are added in ascending order: the order, and so the bits, of kernels/spmm.py.
 */
#include <arm_neon.h>

typedef int64_t word;

#define LANES 4
#define STEP 4
#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

/* Samples of the panels that are packed together: weights are read once for all of them. */
#define TOGETHER 64
/* Of weights that one panel after the other is multiplied by: they stay in the second cache. */
#define STRETCH_BYTES (128 << 10)

/* Words only, so that its bytes are the same on every machine. */
struct job {
    const void *a;          /* float32 or float16 [m, k], or [k, m] by columns */
    const void *values;     /* Prepared.values */
    const int32_t *places;  /* Prepared.rows */
    const word *edges;      /* Prepared.edges, [blocks + 1] */
    const word *kept;       /* Prepared.kept, [blocks + 1] */
    float *room;            /* nofm_spmm_room(job) singles */
    float *out;             /* float32 [m, n], or [n, m] by columns */
    word m, n, k;
    word blocks, masks, tiles, tile_rows;
    word by_rows, halves;   /* layout of a and out; whether a and values are float16 */
    word first, last;       /* the samples to compute */
};

/* Weights of some masks, and the panel that they are multiplied by. */
struct stretch {
    const float *panel;
    const int32_t *places;
    const void *values;
    float *results;         /* [masks * tiles * rows, wide] */
    word count, masks, tiles;
    word more;              /* whether results are added to */
};

struct panel {
    word left, columns, vectors;
    float *packed, *results;
};

INLINE word least(word a, word b) { return a < b ? a : b; }

INLINE float single(const void *values, word i, word halves) {
    return halves ? (float)((const __fp16 *)values)[i] : ((const float *)values)[i];
}

INLINE float32x4_t load(const void *values, word i, word halves) {
    if (halves)
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16((const uint16_t *)values + i)));
    return vld1q_f32((const float *)values + i);
}

INLINE void transpose(const float32x4_t in[4], float32x4_t out[4]) {
    float32x4_t low0 = vzip1q_f32(in[0], in[2]), high0 = vzip2q_f32(in[0], in[2]);
    float32x4_t low1 = vzip1q_f32(in[1], in[3]), high1 = vzip2q_f32(in[1], in[3]);
    out[0] = vzip1q_f32(low0, low1), out[1] = vzip2q_f32(low0, low1);
    out[2] = vzip1q_f32(high0, high1), out[3] = vzip2q_f32(high0, high1);
}

/* Multiply one panel by a stretch. `rows`, `vectors` and `halves` are constants of an instance. */
INLINE void multiply(const word rows, const word vectors, const word halves,
                     const struct stretch *s) {
    const word wide = LANES * vectors, count = s->count;
    const char *values = s->values;
    const int32_t *mask_places = s->places;
    float *results = s->results;
    for (word mask = 0; mask < s->masks; mask++, mask_places += count) {
        for (word tile = 0; tile < s->tiles; tile++, results += rows * wide) {
            float32x4_t sums[8][8];
            UNROLL for (word r = 0; r < rows; r++)
                UNROLL for (word v = 0; v < vectors; v++) sums[r][v] = vdupq_n_f32(0);
            const int32_t *places = mask_places;
            word left = count;
            for (; left >= STEP; left -= STEP, places += STEP) {
                float32x4_t weights[8];
                UNROLL for (word i = 0; i < STEP * rows / LANES; i++)
                    weights[i] = load(values, i * LANES, halves);
                UNROLL for (word e = 0; e < STEP; e++) {
                    const float *line = s->panel + places[e] * wide;
                    float32x4_t a[8];
                    UNROLL for (word v = 0; v < vectors; v++) a[v] = vld1q_f32(line + v * LANES);
                    UNROLL for (word r = 0; r < rows; r++) {
                        const word at = e * rows + r;
                        const float weight = weights[at / LANES][at % LANES];
                        UNROLL for (word v = 0; v < vectors; v++)
                            sums[r][v] = vfmaq_n_f32(sums[r][v], a[v], weight);
                    }
                }
                values += STEP * rows * (halves ? 2 : 4);
            }
            for (; left > 0; left--, places++) {
                const float *line = s->panel + *places * wide;
                UNROLL for (word v = 0; v < vectors; v++) {
                    float32x4_t a = vld1q_f32(line + v * LANES);
                    UNROLL for (word r = 0; r < rows; r++)
                        sums[r][v] = vfmaq_n_f32(sums[r][v], a, single(values, r, halves));
                }
                values += rows * (halves ? 2 : 4);
            }
            UNROLL for (word r = 0; r < rows; r++) {
                UNROLL for (word v = 0; v < vectors; v++) {
                    float *result = results + r * wide + v * LANES;
                    float32x4_t sum = sums[r][v];
                    if (s->more) sum = vaddq_f32(vld1q_f32(result), sum);
                    vst1q_f32(result, sum);
                }
            }
        }
    }
}

/* The instances: for each number of rows its widest tile first, then those of the last samples. */
#define INSTANCES(X) \
    X(1, 8) X(1, 4) X(1, 2) X(1, 1) X(2, 8) X(2, 4) X(2, 2) X(2, 1) \
    X(4, 4) X(4, 2) X(4, 1) X(8, 2) X(8, 1)

#define DEFINE(ROWS, VECTORS) \
    static __attribute__((noinline)) void tile_##ROWS##x##VECTORS##_float32(const struct stretch *s) \
    { multiply(ROWS, VECTORS, 0, s); } \
    static __attribute__((noinline)) void tile_##ROWS##x##VECTORS##_float16(const struct stretch *s) \
    { multiply(ROWS, VECTORS, 1, s); }
INSTANCES(DEFINE)

static void run(word rows, word vectors, word halves, const struct stretch *s) {
    switch (rows * 32 + vectors) {
#define CASE(ROWS, VECTORS) \
    case ROWS * 32 + VECTORS: \
        if (halves) tile_##ROWS##x##VECTORS##_float16(s); \
        else tile_##ROWS##x##VECTORS##_float32(s); \
        break;
        INSTANCES(CASE)
    }
}

/* Vectors of the widest instance whose samples there are, or of the narrowest. */
static word vectors_for(word rows, word samples) {
    word narrowest = 0;
#define TRY(ROWS, VECTORS) \
    if (rows == ROWS) { \
        if (VECTORS * LANES <= samples) return VECTORS; \
        narrowest = VECTORS; \
    }
    INSTANCES(TRY)
    return narrowest;
}

/* A block of the reduction of a panel's samples, [length, wide]; 0 past the last sample. */
static void pack(const struct job *job, const struct panel *panel, word start, word length) {
    const word wide = panel->vectors * LANES, halves = job->halves;
    const word row_step = job->by_rows ? job->k : 1, k_step = job->by_rows ? 1 : job->m;
    const word origin = panel->left * row_step + start * k_step;
    for (word column = 0; column < wide; column += LANES) {
        const word columns = least(LANES, panel->columns - column);
        const word from = origin + column * row_step;
        float *to = panel->packed + column;
        word k = 0;
        if (columns == LANES && !job->by_rows) {
            for (; k < length; k++)
                vst1q_f32(to + k * wide, load(job->a, from + k * k_step, halves));
        } else if (columns == LANES) {
            for (; k + LANES <= length; k += LANES) {
                float32x4_t in[4], turned[4];
                UNROLL for (word i = 0; i < 4; i++)
                    in[i] = load(job->a, from + i * row_step + k, halves);
                transpose(in, turned);
                UNROLL for (word i = 0; i < 4; i++)
                    vst1q_f32(to + (k + i) * wide, turned[i]);
            }
        }
        for (; k < length; k++)
            for (word i = 0; i < LANES; i++)
                to[k * wide + i] =
                    i < columns ? single(job->a, from + i * row_step + k * k_step, halves) : 0;
    }
}

/* Results [n, wide] of a panel to their places in `out`. */
static void unpack(const struct job *job, const struct panel *panel) {
    const word wide = panel->vectors * LANES, n = job->n;
    const word sample_step = job->by_rows ? n : 1, n_step = job->by_rows ? 1 : job->m;
    for (word column = 0; column < panel->columns; column += LANES) {
        const word columns = least(LANES, panel->columns - column);
        const float *from = panel->results + column;
        float *to = job->out + (panel->left + column) * sample_step;
        word row = 0;
        if (columns == LANES && !job->by_rows) {
            for (; row < n; row++)
                vst1q_f32(to + row * n_step, vld1q_f32(from + row * wide));
        } else if (columns == LANES) {
            for (; row + LANES <= n; row += LANES) {
                float32x4_t in[4], turned[4];
                UNROLL for (word i = 0; i < 4; i++) in[i] = vld1q_f32(from + (row + i) * wide);
                transpose(in, turned);
                UNROLL for (word i = 0; i < 4; i++)
                    vst1q_f32(to + i * sample_step + row, turned[i]);
            }
        }
        for (; row < n; row++)
            for (word i = 0; i < columns; i++)
                to[i * sample_step + row * n_step] = from[row * wide + i];
    }
}

static word longest(const word *edges, word blocks) {
    word most = 0;
    for (word i = 0; i < blocks; i++)
        if (edges[i + 1] - edges[i] > most) most = edges[i + 1] - edges[i];
    return most;
}

#define PUBLIC __attribute__((visibility("default")))

/* Samples after which the work repeats itself. */
PUBLIC word nofm_spmm_together(const struct job *job) { (void)job; return TOGETHER; }

/* Singles of `room`: TOGETHER samples of the longest block, and of all results. */
PUBLIC word nofm_spmm_room(const struct job *job) {
    const word rows = job->masks * job->tiles * job->tile_rows;
    return TOGETHER * (longest(job->edges, job->blocks) + rows);
}

PUBLIC void nofm_spmm(const struct job *job) {
    const word rows = job->tile_rows, size = job->halves ? 2 : 4;
    const word mask_rows = job->tiles * rows;
    const word block_singles = longest(job->edges, job->blocks);
    const word most = longest(job->kept, job->blocks);
    word stretch = STRETCH_BYTES / (most * (mask_rows * size + 4));
    if (stretch < 1) stretch = 1;
    for (word sample = job->first; sample < job->last;) {
        /* Each panel has at least one vector of samples. */
        struct panel panels[TOGETHER / LANES];
        word count = 0, taken = 0;
        while (sample < job->last && taken < TOGETHER) {
            struct panel *panel = &panels[count++];
            panel->vectors = vectors_for(rows, least(TOGETHER - taken, job->last - sample));
            panel->left = sample;
            panel->columns = least(panel->vectors * LANES, job->last - sample);
            panel->packed = job->room + taken * block_singles;
            panel->results =
                job->room + TOGETHER * block_singles + taken * job->masks * mask_rows;
            taken += panel->vectors * LANES;
            sample += panel->columns;
        }
        for (word block = 0; block < job->blocks; block++) {
            const word kept = job->kept[block + 1] - job->kept[block];
            const word before = job->kept[block] * job->masks;
            for (word i = 0; i < count; i++)
                pack(job, &panels[i], job->edges[block], job->edges[block + 1] - job->edges[block]);
            for (word mask = 0; mask < job->masks; mask += stretch) {
                for (word i = 0; i < count; i++) {
                    const word wide = panels[i].vectors * LANES;
                    const struct stretch s = {
                        .panel = panels[i].packed,
                        .places = job->places + before + mask * kept,
                        .values = (const char *)job->values
                            + (before + mask * kept) * mask_rows * size,
                        .results = panels[i].results + mask * mask_rows * wide,
                        .count = kept,
                        .masks = least(stretch, job->masks - mask),
                        .tiles = job->tiles,
                        .more = block > 0,
                    };
                    run(rows, panels[i].vectors, job->halves, &s);
                }
            }
        }
        for (word i = 0; i < count; i++) unpack(job, &panels[i]);
    }
}
