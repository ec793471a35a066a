/* PyTorch's zip files: what torch.save writes is read, what is damaged, compressed, ambiguous or
 * asks for anything but plain data is refused with a message that names the file and the cause.
 *
 * Real files are in tests/golden/pt; the rest is written here, piece by piece, so that each piece
 * can be wrong. Runs in the project's root.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/checkpoint/checkpoint.h"
#include "../check.h"

#define GOLDEN "tests/golden/pt/"

static char folder[] = "/tmp/hyv-test-XXXXXX";

/* ---- writing --------------------------------------------------------------------------------- */

/* What is wrong with an archive. */
enum fault {
    SOUND,
    WIDE, /* sound: with 64-bit records */
    COMPRESSED,
    ENCRYPTED,
    OTHER_SIZE,
    OTHER_LOCAL_NAME,
    NO_LOCAL_HEADER,
    OUTSIDE,
    OVERLAP,
    TWICE,
    DAMAGED_DIRECTORY,
    MORE_ENTRIES,
    FEWER_ENTRIES,
    DIRECTORY_OUTSIDE,
    SECOND_DISK,
    NO_WIDE_RECORD,
    WIDE_OUTSIDE,
    WIDE_DAMAGED,
    WIDE_FIELD_MISSING,
    CUT
};

typedef struct archive {
    hyv_string data, directory;
    int count;
    enum fault fault;
    size_t last; /* where the last entry begins */
} archive;

static void put(hyv_string *s, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        const char byte = i < 8 ? (char)(value >> 8 * i) : 0;
        hyv_string_append_bytes(s, &byte, 1);
    }
}

static void put_text(hyv_string *s, const char *text)
{
    hyv_string_append_bytes(s, text, strlen(text));
}

static void add_entry(archive *a, const char *name, const char *data, size_t size)
{
    const enum fault fault = strstr(name, "/data/") ? a->fault : SOUND;
    const bool wide = fault == WIDE || fault == WIDE_FIELD_MISSING;
    const size_t begin = fault == OVERLAP ? a->last : a->data.length;
    a->last = a->data.length;
    put(&a->data, fault == NO_LOCAL_HEADER ? 0 : 0x04034b50, 4);
    put(&a->data, 0, 2);
    put(&a->data, 0x0808, 2);
    put(&a->data, 0, 18);
    put(&a->data, strlen(name), 2);
    put(&a->data, 5, 2); /* an extra field, as torch pads with one */
    put_text(&a->data, name);
    if (fault == OTHER_LOCAL_NAME)
        a->data.text[a->data.length - 1]++;
    put_text(&a->data, "FB\1ZZ");
    hyv_string_append_bytes(&a->data, data, size);
    const uint64_t at = fault == OUTSIDE ? 1 << 20 : begin;
    put(&a->directory, fault == DAMAGED_DIRECTORY ? 1 : 0x02014b50, 4);
    put(&a->directory, 0, 4);
    put(&a->directory, fault == ENCRYPTED ? 0x0809 : 0x0808, 2);
    put(&a->directory, fault == COMPRESSED ? 8 : 0, 2);
    put(&a->directory, 0, 8);
    put(&a->directory, wide ? 0xffffffff : size + (fault == OTHER_SIZE), 4);
    put(&a->directory, wide ? 0xffffffff : size, 4);
    put(&a->directory, strlen(name), 2);
    put(&a->directory, fault == WIDE ? 28 : 0, 2);
    put(&a->directory, 0, 10);
    put(&a->directory, wide ? 0xffffffff : at, 4);
    put_text(&a->directory, name);
    if (fault == WIDE) {
        put(&a->directory, 1 | 24 << 16, 4);
        put(&a->directory, size, 8);
        put(&a->directory, size, 8);
        put(&a->directory, at, 8);
    }
    a->count++;
}

static char *path_of(const char *name)
{
    return hyv_path_join(folder, name);
}

static void write_bytes(const char *name, const char *data, size_t size)
{
    char *path = path_of(name);
    FILE *f = fopen(path, "wb");
    if (CHECK_MSG(f != NULL, "cannot write %s", path)) {
        CHECK(fwrite(data, 1, size, f) == size);
        fclose(f);
    }
    hyv_free_host(path);
}

static void remove_file(const char *name)
{
    char *path = path_of(name);
    unlink(path);
    hyv_free_host(path);
}

static void finish(archive *a, const char *name)
{
    const size_t directory = a->data.length;
    const int count = a->count + (a->fault == MORE_ENTRIES) - (a->fault == FEWER_ENTRIES);
    const bool wide = a->fault >= WIDE_OUTSIDE && a->fault <= WIDE_FIELD_MISSING;
    hyv_string_append_bytes(&a->data, a->directory.text, a->directory.length);
    if (a->fault == WIDE || wide) {
        const size_t at = a->data.length;
        put(&a->data, a->fault == WIDE_DAMAGED ? 1 : 0x06064b50, 4);
        put(&a->data, 44, 8);
        put(&a->data, 0, 12);
        put(&a->data, (uint64_t)count, 8);
        put(&a->data, (uint64_t)count, 8);
        put(&a->data, a->directory.length, 8);
        put(&a->data, directory, 8);
        put(&a->data, 0x07064b50, 4);
        put(&a->data, 0, 4);
        put(&a->data, a->fault == WIDE_OUTSIDE ? UINT64_MAX : at, 8);
        put(&a->data, 1, 4);
    }
    put(&a->data, 0x06054b50, 4);
    put(&a->data, a->fault == SECOND_DISK, 2);
    put(&a->data, 0, 2);
    put(&a->data, (uint64_t)count, 2);
    put(&a->data, (uint64_t)count, 2);
    put(&a->data, a->directory.length, 4);
    put(&a->data,
        a->fault == NO_WIDE_RECORD || wide || a->fault == WIDE ? 0xffffffff
        : a->fault == DIRECTORY_OUTSIDE                        ? directory + 1000
                                                               : directory,
        4);
    put(&a->data, 0, 2);
    write_bytes(name, a->data.text, a->data.length - (a->fault == CUT ? 30 : 0));
    hyv_string_free(&a->data);
    hyv_string_free(&a->directory);
}

/* ---- pickles --------------------------------------------------------------------------------- */

#define STORAGE(type, key, count) \
    "(X\7\0\0\0storagectorch\n" type "\nX\1\0\0\0" key "X\3\0\0\0cpuK" count "tQ"
#define V2(storage, offset, sizes, strides)                                    \
    "ctorch._utils\n_rebuild_tensor_v2\n(" storage offset sizes strides "\x89" \
    "ccollections\nOrderedDict\n)RtR"
#define NAME(letter) "X\1\0\0\0" letter
#define GOOD         V2(STORAGE("FloatStorage", "0", "\6"), "K\0", "K\2K\3\x86", "K\3K\1\x86")

typedef struct text {
    const char *bytes;
    size_t size;
} text;

#define T(s)             \
    {                    \
        s, sizeof(s) - 1 \
    }

/* An archive with this pickle and six floats. */
static void write_pickle(const char *name, text pickle, enum fault fault)
{
    const float values[6] = {0, 1, 2, 3, 4, 5};
    archive a = {.fault = fault};
    add_entry(&a, "any/data.pkl", pickle.bytes, pickle.size);
    add_entry(&a, "any/byteorder", "little", 6);
    add_entry(&a, "any/data/0", (const char *)values, sizeof(values));
    if (fault == TWICE)
        add_entry(&a, "any/data/0", (const char *)values, sizeof(values));
    finish(&a, name);
}

static const text good = T("\x80\2}" NAME("a") GOOD "s.");

static void check_refused(const char *path, int err, const char *word)
{
    hyv_log log = {0};
    hyv_checkpoint *c = (hyv_checkpoint *)&log;
    const int got = hyv_checkpoint_open(&c, path, &log);
    CHECK_MSG(got == err, "%s (%s): %d instead of %d: %s", path, word, got, err, log.error);
    CHECK_MSG(c == NULL, "%s (%s): something stays open", path, word);
    CHECK_MSG(strstr(log.error, word) && (strstr(log.error, path) || strstr(log.error, "_map.pt")),
              "%s: '%s' not in: %s", path, word, log.error);
    hyv_checkpoint_close(&c);
}

static void check_refused_here(const char *name, int err, const char *word)
{
    char *path = path_of(name);
    check_refused(path, err, word);
    hyv_free_host(path);
}

static hyv_checkpoint *open_here(const char *name)
{
    char *path = path_of(name);
    hyv_log log = {0};
    hyv_checkpoint *c;
    CHECK_MSG(hyv_checkpoint_open(&c, path, &log) == 0, "%s", log.error);
    hyv_free_host(path);
    return c;
}

/* ---- what is right --------------------------------------------------------------------------- */

static void check_floats(hyv_checkpoint *c, const char *name, int rank, int64_t rows, int64_t count,
                         double first)
{
    const hyv_tensor *t = c ? hyv_checkpoint_find(c, name) : NULL;
    if (!CHECK_MSG(t != NULL, "no tensor '%s'", name))
        return;
    CHECK_MSG(t->rank == rank && t->count == count && (rank == 0 || t->shape[0] == rows),
              "%s: rank %d, %lld elements, %lld rows", name, t->rank, (long long)t->count,
              (long long)t->shape[0]);
    for (int64_t i = 0; i < t->count; i++) {
        float v;
        memcpy(&v, (const uint8_t *)t->data + (size_t)i * sizeof(v), sizeof(v));
        CHECK_MSG((double)v == first + (double)i, "%s: element %lld is %g", name, (long long)i,
                  (double)v);
    }
}

static void test_written(void)
{
    static const text forms[] = {
        T("\x80\2}" NAME("a") GOOD "s."),
        T("\x80\4\x95\0\0\0\0\0\0\0\0}\x94(\x8c\1a\x94" GOOD "\x94u."),
        T("\x80\2}X\6\0\0\0module}(" NAME("a") GOOD NAME("n") "Nus."),
        T("\x80\2ccollections\nOrderedDict\n)R(" NAME("a") GOOD "u}X\11\0\0\0_metadata}sb."),
        T("\x80\2ccollections\nOrderedDict\n](" NAME("a") GOOD "\x86"
                                                               "e\x85R."),
        T("\x80\2}" NAME("a") "ctorch._utils\n_rebuild_parameter\n(" GOOD "\x88)tRs."),
        T("\x80\2}(" NAME("e") "G\0\0\0\0\0\0\0\0"
                               "K\7"
                               "NX\5\0\0\0model}" NAME("a") GOOD "su."),
        T("\x80\2}" NAME("a") V2(STORAGE("FloatStorage", "0", "\6"), "\x8a\0",
                                 "ctorch\nSize\nK\2M\3\0\x86\x85R", "J\3\0\0\0\x8a\1\1\x86") "s."),
        T("\x80\2}" NAME("a") GOOD "q\1sK\1"
                                   "0."),
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        write_pickle("good.pt", forms[i], SOUND);
        hyv_checkpoint *c = open_here("good.pt");
        check_floats(c, "a", 2, 2, 6, 0);
        hyv_checkpoint_close(&c);
    }
    write_pickle("good.pt", good, WIDE);
    hyv_checkpoint *c = open_here("good.pt");
    check_floats(c, "a", 2, 2, 6, 0);
    hyv_checkpoint_close(&c);
    remove_file("good.pt");
}

/* Files that torch.save wrote. */
static void test_real(void)
{
    static const hyv_type types[] = {HYV_F32, HYV_F64, HYV_F16, HYV_BF16, HYV_I64,     HYV_I32,
                                     HYV_I16, HYV_I8,  HYV_U8,  HYV_BOOL, HYV_F8_E4M3, HYV_F8_E5M2};
    static const char *const names[] = {"float32", "float64", "float16",       "bfloat16",
                                        "int64",   "int32",   "int16",         "int8",
                                        "uint8",   "bool",    "float8_e4m3fn", "float8_e5m2"};
    hyv_log log = {0};
    hyv_checkpoint *c;
    CHECK_MSG(hyv_checkpoint_open(&c, GOLDEN "views.pt", &log) == 0, "%s", log.error);
    check_floats(c, "whole", 2, 4, 12, 0);
    check_floats(c, "tail", 2, 2, 6, 6);
    check_floats(c, "scalar", 0, 1, 1, 7);
    check_floats(c, "empty", 2, 0, 0, 0);
    check_floats(c, "parameter", 1, 2, 2, 0);
    CHECK(c && hyv_checkpoint_count(c) == 5);
    hyv_checkpoint_close(&c);
    CHECK_MSG(hyv_checkpoint_open(&c, GOLDEN "types.pth", &log) == 0, "%s", log.error);
    for (size_t i = 0; c && i < sizeof(types) / sizeof(types[0]); i++) {
        const hyv_tensor *t = hyv_checkpoint_find(c, names[i]);
        CHECK_MSG(t && t->type == types[i] && t->rank == 2 && t->count == 6, "%s", names[i]);
    }
    hyv_checkpoint_close(&c);
    CHECK(hyv_checkpoint_open(&c, GOLDEN "module.pt", &log) == 0 && hyv_checkpoint_count(c) == 4);
    hyv_checkpoint_close(&c);
    CHECK(hyv_checkpoint_open(&c, GOLDEN "protocol4.pt", &log) == 0 &&
          hyv_checkpoint_count(c) == 1);
    hyv_checkpoint_close(&c);
    check_refused(GOLDEN "transposed.pt", -ENOTSUP, "'w' is a transposed");
    check_refused(GOLDEN "symbol.pt", -ENOTSUP, "'torch.device'");
    check_refused(GOLDEN "legacy.pt", -ENOTSUP, "legacy");
    check_refused(GOLDEN "script.pt", -ENOTSUP, "TorchScript");
}

/* ---- what is wrong --------------------------------------------------------------------------- */

static void test_archives(void)
{
    static const struct {
        enum fault fault;
        int err;
        const char *word;
    } faults[] = {
        {COMPRESSED, -ENOTSUP, "'any/data/0' is compressed (method 8)"},
        {ENCRYPTED, -ENOTSUP, "'any/data/0' is encrypted"},
        {OTHER_SIZE, -EBADMSG, "another size"},
        {OTHER_LOCAL_NAME, -EBADMSG, "another name"},
        {NO_LOCAL_HEADER, -EBADMSG, "no header before its data"},
        {OUTSIDE, -EBADMSG, "begins outside"},
        {OVERLAP, -EBADMSG, "another name"},
        {TWICE, -EBADMSG, "is there twice"},
        {DAMAGED_DIRECTORY, -EBADMSG, "directory is damaged"},
        {MORE_ENTRIES, -EBADMSG, "no room for its entries"},
        {FEWER_ENTRIES, -EBADMSG, "more than its entries"},
        {DIRECTORY_OUTSIDE, -EBADMSG, "directory lies outside"},
        {SECOND_DISK, -ENOTSUP, "several parts"},
        {NO_WIDE_RECORD, -EBADMSG, "64-bit end record is missing"},
        {WIDE_OUTSIDE, -EBADMSG, "64-bit end record lies outside"},
        {WIDE_DAMAGED, -EBADMSG, "64-bit end record is missing"},
        {WIDE_FIELD_MISSING, -EBADMSG, "no 64-bit numbers"},
        {CUT, -EBADMSG, "truncated"},
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        write_pickle("bad.pt", good, faults[i].fault);
        check_refused_here("bad.pt", faults[i].err, faults[i].word);
    }
    static const char *const names[] = {"../data.pkl", "a/../data/x", "/a", "a\\b", "", "a\nb"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        archive a = {0};
        add_entry(&a, "any/data.pkl", good.bytes, good.size);
        add_entry(&a, names[i], "", 0);
        finish(&a, "bad.pt");
        check_refused_here("bad.pt", -EBADMSG, "leads out of the archive");
    }
    static const char *const others[][3] = {{"any/byteorder", "big", "another byte order ('big')"},
                                            {"any/constants.pkl", "", "TorchScript"},
                                            {"any/code/x.py", "", "TorchScript"},
                                            {"other/data.pkl", "", "more than one data.pkl"}};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        archive a = {0};
        add_entry(&a, "any/data.pkl", good.bytes, good.size);
        add_entry(&a, others[i][0], others[i][1], strlen(others[i][1]));
        finish(&a, "bad.pt");
        check_refused_here("bad.pt", i == 3 ? -EBADMSG : -ENOTSUP, others[i][2]);
    }
    archive a = {0};
    add_entry(&a, "word/document.xml", "x", 1);
    finish(&a, "bad.pt");
    check_refused_here("bad.pt", -ENOTSUP, "no data.pkl");
    remove_file("bad.pt");
}

#define F6       STORAGE("FloatStorage", "0", "\6")
#define A(value) T("\x80\2}" NAME("a") value "s.")
static const struct {
    text pickle;
    int err;
    const char *word;
} pickles[] = {
    {T("\x80\2cposix\nsystem\nX\1\0\0\0x\x85R."), -ENOTSUP, "'posix.system'"},
    {T("\x80\4\x8c\2os\x8c\6system\x93."), -ENOTSUP, "'os.system'"},
    {T("\x80\2(iposix\nsystem\n."), -ENOTSUP, "instruction 0x69"},
    {T("\x80\2)\x81."), -ENOTSUP, "instruction 0x81"},
    {T("\x80\1}."), -EBADMSG, "protocol"},
    {T("\x80\6}."), -EBADMSG, "protocol"},
    {T("(}."), -EBADMSG, "protocol"},
    {T(""), -EBADMSG, "its end comes"},
    {T("\x80\2}"), -EBADMSG, "its end comes"},
    {T("\x80\2X\377\0\0\0abc."), -EBADMSG, "its end comes"},
    {T("\x80\2X\377\377\377\377."), -EBADMSG, "more than 64 KiB"},
    {T("\x80\2\x8d\377\377\377\377\377\377\377\377."), -EBADMSG, "more than 64 KiB"},
    {T("\x80\2\x8a\11aaaaaaaaa."), -EBADMSG, "more than 64 bits"},
    {T("\x80\2ctorch"), -EBADMSG, "its end comes"},
    {T("\x80\2."), -EBADMSG, "finds no value"},
    {T("\x80\2(."), -EBADMSG, "finds no value"},
    {T("\x80\2t."), -EBADMSG, "finds no mark"},
    {T("\x80\2K\1\x86."), -EBADMSG, "finds no value"},
    {T("\x80\2h\1."), -EBADMSG, "a number that no value has"},
    {T("\x80\2}r\377\377\377\377."), -EBADMSG, "too large"},
    {T("\x80\2K\1K\2a."), -EBADMSG, "no list or dict"},
    {T("\x80\2}NNs."), -EBADMSG, "neither text nor a number"},
    {T("\x80\2}(NNNu."), -EBADMSG, "neither text nor a number"},
    {T("\x80\2s."), -EBADMSG, "items for nothing"},
    {T("\x80\2K\1)R."), -EBADMSG, "what is no symbol"},
    {T("\x80\2}Nb."), -EBADMSG, "no ordered dict"},
    {T("\x80\2NQ."), -EBADMSG, "no tuple"},
    {T("\x80\2ccollections\nOrderedDict\n]N"
       "a\x85R."),
     -EBADMSG, "no pairs"},
    {T("\x80\2]."), -ENOTSUP, "no dict of tensors"},
    {T("\x80\2}."), -ENOTSUP, "no dict of tensors"},
    {T("\x80\2}K\1" GOOD "s."), -EBADMSG, "no text"},
    {T("\x80\2}X\2\0\0\0a\0" GOOD "s."), -EBADMSG, "no text"},
    {T("\x80\2}X\0\0\0\0" GOOD "s."), -EBADMSG, "name has 0 bytes"},
    {T("\x80\2}(" NAME("a") GOOD NAME("a") GOOD "u."), -EBADMSG, "stands twice"},
    {A(V2("N", "K\0", "K\2\x85", "K\1\x85")), -EBADMSG, "no storage"},
    {A(V2("NQ", "K\0", "K\2\x85", "K\1\x85")), -EBADMSG, "no tuple"},
    {A(V2("K\1\x85Q", "K\0", "K\2\x85", "K\1\x85")), -EBADMSG, "described wrongly"},
    {A(V2(STORAGE("FloatStorage", "1", "\6"), "K\0", "K\2\x85", "K\1\x85")), -EBADMSG,
     "'data/1', which is not there"},
    {A(V2(STORAGE("FloatStorage", "0", "\7"), "K\0", "K\2\x85", "K\1\x85")), -EBADMSG,
     "should hold 7 elements and has 24 bytes"},
    {A(V2(STORAGE("DoubleStorage", "0", "\6"), "K\0", "K\2\x85", "K\1\x85")), -EBADMSG,
     "should hold 6 elements"},
    {A(V2(STORAGE("UntypedStorage", "0", "\6"), "K\0", "K\2\x85", "K\1\x85")), -EBADMSG,
     "do not agree"},
    {A(V2(STORAGE("ComplexFloatStorage", "0", "\1"), "K\0", "K\1\x85", "K\1\x85")), -ENOTSUP,
     "'torch.ComplexFloatStorage'"},
    {A(V2(F6, "K\5", "K\2\x85", "K\1\x85")), -EBADMSG, "beyond its storage"},
    {A(V2(F6, "K\7", "K\0\x85", "K\1\x85")), -EBADMSG, "beyond its storage"},
    {A(V2(F6, "J\377\377\377\377", "K\1\x85", "K\1\x85")), -EBADMSG, "beyond its storage"},
    {A(V2(F6, "K\0", "K\7\x85", "K\1\x85")), -EBADMSG, "beyond its storage"},
    {A(V2(F6, "N", "K\1\x85", "K\1\x85")), -EBADMSG, "beyond its storage"},
    {A(V2(F6, "K\0", "K\2K\3\x86", "K\1K\2\x86")), -ENOTSUP, "transposed or strided"},
    {A(V2(F6, "K\0", "K\2\x85", "K\0\x85")), -ENOTSUP, "transposed or strided"},
    {A(V2(F6, "K\0", "K\2\x85", "K\1K\1\x86")), -EBADMSG, "as many strides"},
    {A(V2(F6, "K\0", "J\377\377\377\377\x85", "K\1\x85")), -EBADMSG, "no integer >= 0"},
    {A(V2(F6, "K\0", "K\2", "K\1\x85")), -EBADMSG, "no tuple"},
    {A(V2(F6, "K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", ")")), -EBADMSG, "more dimensions"},
    {A(V2(F6, "K\0", "\x8a\10\0\0\0\0\0\0\0\x40\x8a\10\0\0\0\0\0\0\0\x40\x86", "K\1K\1\x86")),
     -EBADMSG, "impossible shape"},
    {A("ctorch._utils\n_rebuild_parameter\n)R"), -EBADMSG, "described by no tensor"},
    {A("ctorch._utils\n_rebuild_tensor_v3\n)R"), -EBADMSG, "no element type"},
    {A("ctorch._utils\n_rebuild_tensor_v2\n)R"), -EBADMSG, "no storage"},
};

static void test_pickles(void)
{
    for (size_t i = 0; i < sizeof(pickles) / sizeof(pickles[0]); i++) {
        write_pickle("bad.pt", pickles[i].pickle, SOUND);
        check_refused_here("bad.pt", pickles[i].err, pickles[i].word);
    }
    hyv_string deep = {0};
    hyv_string_append_bytes(&deep, "\x80\2", 2);
    for (int i = 0; i < 100; i++)
        put_text(&deep, "(");
    write_pickle("bad.pt", (text){deep.text, deep.length}, SOUND);
    check_refused_here("bad.pt", -EBADMSG, "nest too deep");
    hyv_string_free(&deep);
    remove_file("bad.pt");
}

/* Every file that is shorter than it should be is refused. */
static void test_cuts(void)
{
    char *whole, *path = path_of("whole.pt");
    size_t size;
    write_pickle("whole.pt", good, WIDE);
    if (CHECK(hyv_file_read(&whole, &size, path, 1 << 20) == 0)) {
        for (size_t n = 4; n < size; n++) {
            write_bytes("cut.pt", whole, n);
            check_refused_here("cut.pt", -EBADMSG, "truncated");
        }
        hyv_free_host(whole);
    }
    hyv_free_host(path);
    remove_file("whole.pt");
    remove_file("cut.pt");
}

/* fp8 needs the scales of its map. */
static void test_map(void)
{
#define V3                                                                                  \
    "ctorch._utils\n_rebuild_tensor_v3\n((X\7\0\0\0storagectorch.storage\nUntypedStorage\n" \
    "X\1\0\0\0"                                                                             \
    "0"                                                                                     \
    "X\3\0\0\0cpuK\6tQK\0K\2K\3\x86K\3K\1\x86\x89}ctorch\nfloat8_e4m3fn\ntR"
    static const text fp8 = T("\x80\2}X\10\0\0\0a.weight" V3 "s.");
    static const text map = T("\x80\2}" NAME("a") V2(STORAGE("FloatStorage", "0", "\6"), "K\3",
                                                     "K\1\x85", "K\1\x85") "s.");
    write_pickle("w_fp8.pt", fp8, SOUND);
    check_refused_here("w_fp8.pt", -ENOENT, "w_fp8_map.pt");
    write_pickle("w_fp8_map.pt", map, SOUND);
    hyv_checkpoint *c = open_here("w_fp8.pt");
    check_floats(c, "a.fp8_scale", 1, 1, 1, 3);
    const hyv_tensor *t = c ? hyv_checkpoint_find(c, "a.weight") : NULL;
    CHECK(t && t->type == HYV_F8_E4M3 && t->count == 6 && hyv_checkpoint_count(c) == 2);
    hyv_checkpoint_close(&c);
    write_bytes("w_fp8_map.pt", "PK\3\4", 4);
    check_refused_here("w_fp8.pt", -EBADMSG, "truncated");
    remove_file("w_fp8.pt");
    remove_file("w_fp8_map.pt");
}

int main(void)
{
    if (!CHECK(mkdtemp(folder) != NULL))
        return check_done();
    test_written();
    test_real();
    test_archives();
    test_pickles();
    test_cuts();
    test_map();
    CHECK(rmdir(folder) == 0);
    return check_done();
}
