/* One component of a model under the doctor's eyes: its summary, its tensors, their values.
 *
 * Binds the component on a backend that computes nothing, as a dry run does, and tells what that
 * finds missing or misshapen; then lists every tensor of the file. Knows no places of files and no
 * configuration.
 */
#ifndef HYV_RUN_EXAMINE_H
#define HYV_RUN_EXAMINE_H

#include "findings.h"
#include "model.h"

typedef struct hyv_examiner {
    hyv_model *model; /* its log is quiet; warnings and errors there become findings */
    hyv_findings *findings;
    const hyv_run *run; /* its interrupt is asked */
    hyv_backend *dry;
    enum hyv_component component; /* under examination */
    uint64_t done, of;            /* bytes of values */
    bool image;                   /* the transformer is known to be for image to video */
    hyv_string reported;          /* names of tensors with a finding, a line each */
} hyv_examiner;

/* The component's file is open. numbers: the model's configuration is known, so that it can be
 * bound. */
void hyv_examine(hyv_examiner *e, enum hyv_component component, bool numbers);

/* The family that a component belongs to: "HunyuanVideo", "Llama", "CLIP". */
const char *hyv_component_family(enum hyv_component component);

#endif
