/* info and doctor: see cli_inspect.h.
 *
 * Components and tensors are printed as they come, findings at the end, where they are seen. While
 * values are read a line on standard error says how far it is. Names come from files, which must
 * not steer the terminal.
 */
#include "cli_inspect.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LIKE_MAX = 20,   /* findings of one kind that are printed one after the other */
    LINE_SECONDS = 5 /* between progress lines, where standard error is no terminal */
};

typedef struct output {
    const hyv_cli_request *request;
    hyv_cli_document json; /* if it is wanted */
    FILE *findings;        /* text, kept back */
    char *text;
    size_t text_size;
    char last[5][1024]; /* of the finding before: see print_finding, */
    int like;           /* and how many like it came in a row */
    int errors, warnings, components;
    int64_t tensors;
    uint64_t read;
    double line_written;
    bool line_shown;
    char failure[1024]; /* what the library logged as an error */
} output;

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void clear_line(output *o)
{
    if (o->line_shown)
        fputs("\r\033[K", stderr);
    o->line_shown = false;
}

static void print_clean(FILE *to, const char *text)
{
    for (; *text; text++)
        putc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, to);
}

static void on_log(void *opaque, enum hyv_log_level level, const char *message)
{
    output *o = opaque;
    if (level == HYV_LOG_ERROR)
        snprintf(o->failure, sizeof(o->failure), "%s", message);
    if (level == HYV_LOG_INFO || (level > HYV_LOG_INFO && !o->request->verbose))
        return;
    clear_line(o);
    fputs(level == HYV_LOG_WARNING ? "hyv: warning: " : "hyv: ", stderr);
    print_clean(stderr, message);
    fputc('\n', stderr);
}

static int on_interrupt(void *opaque)
{
    const output *o = opaque;
    return o->request->interrupt(NULL);
}

static int on_progress(void *opaque, uint64_t bytes, uint64_t of)
{
    output *o = opaque;
    const bool terminal = isatty(STDERR_FILENO);
    const double now = seconds();
    o->read = bytes;
    if (o->request->quiet || now < o->line_written + (terminal ? 0.1 : LINE_SECONDS))
        return 0;
    o->line_written = now;
    fprintf(stderr, "%svalues %3.0f %%, %.2f of %.2f GB",
            terminal ? "\r\033[K" : "hyv: ", of ? 100.0 * (double)bytes / (double)of : 100.0,
            (double)bytes / 1e9, (double)of / 1e9);
    o->line_shown = terminal;
    if (!terminal)
        fputc('\n', stderr);
    fflush(stderr);
    return 0;
}

static int on_component(void *opaque, const hyv_component_info *info)
{
    output *o = opaque;
    o->components++;
    if (o->request->json) {
        hyv_cli_document_component(&o->json, info);
        return 0;
    }
    clear_line(o);
    print_clean(stdout, info->summary);
    putchar('\n');
    return 0;
}

static void print_tensor(const hyv_tensor_info *info)
{
    static const char *const states[] = {"", "unused", "foreign", "MISSING", "WRONG SHAPE"};
    printf("%s/", info->component);
    print_clean(stdout, info->name);
    printf("  %s [", info->type);
    for (int i = 0; i < info->rank && i < 8; i++)
        printf("%s%lld", i ? ", " : "", (long long)info->shape[i]);
    putchar(']');
    if (info->examined)
        printf("  %.4g to %.4g", info->min, info->max);
    if (info->examined && info->nan)
        printf("  %lld NaN", (long long)info->nan);
    if (info->examined && info->inf)
        printf("  %lld Inf", (long long)info->inf);
    printf("%s%s%s%s\n", *states[info->state] ? "  " : "", states[info->state],
           *info->note ? ": " : "", info->note);
}

static int on_tensor(void *opaque, const hyv_tensor_info *info)
{
    output *o = opaque;
    o->tensors++;
    if (o->request->json) {
        hyv_cli_document_tensor(&o->json, info);
    } else if (!o->request->quiet) {
        clear_line(o);
        print_tensor(info);
    }
    return 0;
}

static void end_row(output *o)
{
    if (o->like > LIKE_MAX)
        fprintf(o->findings, "  and %d more like these; --json lists all\n", o->like - LIKE_MAX);
    o->like = 0;
}

/* In a row of findings alike, what stands under the one before is not said again. */
static void print_member(output *o, int member, const char *name, const char *text)
{
    char *last = o->last[member];
    const bool again = o->like > 1 && !strncmp(last, text, sizeof(o->last[0]) - 1);
    snprintf(last, sizeof(o->last[0]), "%s", text);
    if (again || !*text)
        return;
    fprintf(o->findings, "  %-7s ", name);
    print_clean(o->findings, text);
    fputc('\n', o->findings);
}

static void print_finding(output *o, const hyv_finding *f)
{
    enum { KIND, COMPONENT, FOUND_IN, VALID, ADVICE };
    if (strcmp(o->last[KIND], f->kind) != 0 || strcmp(o->last[COMPONENT], f->component) != 0)
        end_row(o);
    snprintf(o->last[KIND], sizeof(o->last[0]), "%s", f->kind);
    snprintf(o->last[COMPONENT], sizeof(o->last[0]), "%s", f->component);
    if (++o->like > LIKE_MAX)
        return;
    fputs(f->severity == HYV_SEVERITY_ERROR ? "error: " : "warning: ", o->findings);
    fprintf(o->findings, "%s%s", f->component, *f->component ? ": " : "");
    print_clean(o->findings, f->tensor);
    fputs(*f->tensor ? ": " : "", o->findings);
    print_clean(o->findings, f->found);
    fputc('\n', o->findings);
    print_member(o, FOUND_IN, "file", f->file);
    print_member(o, VALID, "valid", f->valid);
    print_member(o, ADVICE, "do", f->advice);
}

static int on_finding(void *opaque, const hyv_finding *finding)
{
    output *o = opaque;
    o->errors += finding->severity == HYV_SEVERITY_ERROR;
    o->warnings += finding->severity == HYV_SEVERITY_WARNING;
    if (o->request->json)
        hyv_cli_document_finding(&o->json, finding);
    else
        print_finding(o, finding);
    return 0;
}

/* What stopped the inspection itself; the log has it on standard error already. */
static void add_failure(output *o)
{
    const hyv_finding finding = {.size = sizeof(finding),
                                 .severity = HYV_SEVERITY_ERROR,
                                 .kind = "no_model",
                                 .component = "",
                                 .file = "",
                                 .tensor = "",
                                 .found = o->failure,
                                 .valid = "a model's folder, file or name",
                                 .advice = "check the path"};
    hyv_cli_document_finding(&o->json, &finding);
}

static void print_sum(const output *o)
{
    const bool doctor = !strcmp(o->request->command, "doctor");
    if (o->errors || o->warnings)
        printf("%d error%s, %d warning%s\n", o->errors, o->errors == 1 ? "" : "s", o->warnings,
               o->warnings == 1 ? "" : "s");
    if (doctor && !o->errors)
        printf("healthy: %d components, %lld tensors, %.4g MB of values read\n", o->components,
               (long long)o->tensors, (double)o->read / 1e6);
}

static bool print_all(output *o, int result)
{
    clear_line(o);
    if (!o->request->json) {
        end_row(o);
        fflush(o->findings);
        fputs(o->text, stdout);
        if (result >= 0)
            print_sum(o);
        return true;
    }
    if (result < 0)
        add_failure(o);
    return hyv_cli_document_print(&o->json);
}

int hyv_cli_inspect(const hyv_cli_request *request)
{
    output o = {.request = request, .line_written = seconds()};
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    hyv_inspection inspection = HYV_INIT(hyv_inspection);
    callbacks.opaque = &o;
    callbacks.log = on_log;
    callbacks.interrupt = on_interrupt;
    inspection.values = !strcmp(request->command, "doctor");
    inspection.component = on_component;
    inspection.tensor = on_tensor;
    inspection.finding = on_finding;
    inspection.progress = on_progress;
    o.findings = request->json ? NULL : open_memstream(&o.text, &o.text_size);
    if (request->json ? !hyv_cli_document_new(&o.json, request) : !o.findings) {
        fputs("hyv: not enough memory\n", stderr);
        return 1;
    }
    const int result = hyv_inspect(request->options, &callbacks, &inspection);
    const bool stopped = request->interrupt(NULL);
    const bool good = stopped || print_all(&o, result);
    if (o.findings)
        fclose(o.findings);
    free(o.text);
    if (request->json)
        hyv_cli_document_free(&o.json);
    if (!good)
        fprintf(stderr, "hyv: cannot write standard output: %s\n", strerror(errno));
    return result != 0 || stopped || !good;
}
