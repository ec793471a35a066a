/* What the commands of hyv share; private to the program. The library's header is the only other.
 */
#ifndef HYV_CLI_H
#define HYV_CLI_H

#include <stdbool.h>

#include "hunyuanvideo.h"

enum { EXIT_USAGE = 2 }; /* exit status: the command line is wrong */

/* A command line. */
typedef struct job {
    const char *command;
    hyv_options *options;
    const char *output, *format, *type, *component;
    const char *argument; /* behind the options; NULL: none */
    bool prompt, promptfile, negative, negativefile;
    bool quiet, verbose, table, json, help;
    bool late; /* errors are reported at the end, not as they come */
} job;

/* One line "hyv: ..." to standard error; returns `status`. */
int report(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Sets an option of the library: 0, or EXIT_USAGE after a message. */
int set_option(job *j, const char *name, const char *value);

/* Callbacks for the library whose opaque pointer is the job: messages and progress go to standard
 * error; a signal interrupts. */
void on_log(void *opaque, enum hyv_log_level level, const char *message);
int on_progress(void *opaque, const hyv_progress *p);
int on_interrupt(void *opaque);

/* Commands in files of their own: the exit status. */
int convert(job *j);

#endif
