/* Findings of the doctor: where they go, and what follows from an error message.
 *
 * Modules below say what is wrong in one line for people, which begins with the file's path and
 * names the tensor. From it come the file, the tensor, a word for programs, what would be valid and
 * what to do; a message that nobody foresaw still makes a finding. Knows no model.
 */
#ifndef HYV_RUN_FINDINGS_H
#define HYV_RUN_FINDINGS_H

#include "../base/log.h"
#include "../hunyuanvideo.h"

typedef struct hyv_findings {
    const hyv_inspection *to;
    void *opaque;  /* of the functions of `to` */
    hyv_log *log;  /* where findings go if `to` has no function for them */
    int errors;    /* told so far */
    int stop, err; /* the receiver wants no more; the first failure of our own, or 0 */
} hyv_findings;

/* Members of *finding that are NULL become "". */
void hyv_finding_tell(hyv_findings *f, const hyv_finding *finding);

/* From a message. `usual` (which may be NULL) has what holds unless the message says more:
 * severity, component, file, kind, valid, advice; its `found` is not read. */
void hyv_finding_tell_message(hyv_findings *f, const hyv_finding *usual, const char *message);

#endif
