/* A run's state on disk: the latents after a step, and everything that decided them.
 *
 * The file is a safetensors file: `latents` F32 [t*h*w, channels], channels last, and `run`, a JSON
 * text that holds the step and the run's identity, a list of names and values. A state is taken up
 * only by a run whose identity is the same, so that the bytes are those of a run that was never
 * interrupted. Knows no pipeline.
 */
#ifndef HYV_RUN_STATE_H
#define HYV_RUN_STATE_H

#include <jansson.h>
#include <stdint.h>

#include "../base/log.h"

typedef struct hyv_state {
    json_t *identity; /* names and values, all strings */
    int step;         /* steps done */
    float *latents;   /* [rows, channels] */
    int64_t rows, channels;
} hyv_state;

/* 1: read; 0: there is no such file; -EBADMSG: damaged, or something else; -ENOMEM. Free with
 * hyv_state_clear, also after a failure. */
int hyv_state_load(hyv_state *state, const char *path, hyv_log *log);
void hyv_state_clear(hyv_state *state);

/* 0, or -EINVAL after a message that names the first member of `identity` with another value in the
 * state. */
int hyv_state_check(const hyv_state *state, const json_t *identity, const char *path, hyv_log *log);

/* Replaces the file; 0 or a negative errno, without a message: the caller knows how bad it is. */
int hyv_state_save(const char *path, const json_t *identity, int step, const float *latents,
                   int64_t rows, int64_t channels);

#endif
