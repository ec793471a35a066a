/* What a video will cost, found by running its very operators on the null backend.
 *
 * Per phase: operations, bytes by kind, and from a calibration of less than a second on this
 * machine an estimate of the time. Nothing of the size of the work is allocated. Knows no pixels.
 */
#ifndef HYV_RUN_PLAN_H
#define HYV_RUN_PLAN_H

#include "conditioning.h"
#include "denoise.h"
#include "model.h"
#include "vae_tiles.h"

/* Operators by kind and size. */
typedef struct hyv_work {
    double flops; /* of all operators */
    hyv_calls done[HYV_KINDS][HYV_SIZES];
} hyv_work;

typedef struct hyv_cost {
    hyv_work work;         /* of the whole video; */
    hyv_work step;         /* of the transformer: of one step */
    size_t arena, scratch; /* bytes on the backend */
    size_t weights;        /* converted and repacked ones */
    size_t files;          /* weights used where they lie in the file; */
    size_t mapped;         /* those of them that are in memory at a time, */
    size_t mapped_least;   /* and how few can do */
    double disk;           /* bytes read, where the system's cache does not help */
    double step_disk;      /* of the transformer: in each step but the first */
    size_t host;           /* embeddings, latents, frames */
} hyv_cost;

typedef struct hyv_plan {
    hyv_prompt_tokens positive, negative; /* negative only if guided */
    bool guided;
    hyv_denoise_plan denoise;
    hyv_tiling tiling;
    size_t budget, held;              /* bytes: that the process may hold, that it holds before */
    hyv_cost network[HYV_COMPONENTS]; /* of the whole video; bytes: the largest at a time */
    hyv_example example[HYV_KINDS][HYV_SIZES]; /* of all networks */
} hyv_plan;

/* Fills the costs from the rest of the plan. config: of the CPU backend to come. */
int hyv_plan_make(hyv_plan *plan, const hyv_model *m, const hyv_backend_config *config);

/* Bytes of a network's run beside what the process holds already: as planned, and at least. */
size_t hyv_cost_bytes(const hyv_cost *cost);
size_t hyv_cost_bytes_least(const hyv_cost *cost);

/* What the plan leaves a network's weights in the mapped file: see hyv_residency_fit. */
size_t hyv_plan_room(const hyv_plan *plan, enum hyv_component component);

/* Estimates of the time, from examples of the plan's own operators that run on `be` for about a
 * fifth of a second in all: seconds for each network, and for one denoising step. 0, or the
 * backend's error. */
typedef struct hyv_plan_times {
    double network[HYV_COMPONENTS], step;
} hyv_plan_times;

int hyv_plan_seconds(const hyv_plan *plan, hyv_backend *be, hyv_plan_times *times);

/* The phase that a network belongs to. */
enum hyv_phase hyv_component_phase(enum hyv_component component);

#endif
