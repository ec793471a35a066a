/* The commands info and doctor: what hyv_inspect tells, as text or as one JSON document.
 *
 * Knows the public header alone; cli.c reads the command line and says what is wanted.
 */
#ifndef HYV_CLI_INSPECT_H
#define HYV_CLI_INSPECT_H

#include <stdbool.h>

#include <jansson.h>

#include "hunyuanvideo.h"

typedef struct hyv_cli_request {
    const hyv_options *options;
    const char *command; /* "info", or "doctor", which reads all values */
    bool json, quiet, verbose;
    int (*interrupt)(void *opaque);
} hyv_cli_request;

/* Prints what there is to say; the exit status: 0 no error was found, else 1. */
int hyv_cli_inspect(const hyv_cli_request *request);

/* ---- the JSON document, whose keys hyv.1 lists */

/* An empty document; NULL: no memory. The functions below do nothing with NULL, and a document that
 * lacks memory on the way is not printed. */
typedef struct hyv_cli_document {
    json_t *root, *components, *tensors, *findings;
    int errors, warnings;
} hyv_cli_document;

bool hyv_cli_document_new(hyv_cli_document *d, const hyv_cli_request *request);
void hyv_cli_document_component(hyv_cli_document *d, const hyv_component_info *info);
void hyv_cli_document_tensor(hyv_cli_document *d, const hyv_tensor_info *info);
void hyv_cli_document_finding(hyv_cli_document *d, const hyv_finding *finding);
/* Prints it to standard output; false: no memory, or a write error. */
bool hyv_cli_document_print(hyv_cli_document *d);
void hyv_cli_document_free(hyv_cli_document *d);

#endif
