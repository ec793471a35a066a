/* What bpe_file.c and bpe_rules.c read and bpe.c encodes with; private to the three.
 *
 * A tokenizer is three things: rules that rewrite the text, rules that cut it into pieces, and the
 * byte-pair tables that turn a piece into ids. Texts of tokens are kept as files have them, in the
 * byte-level alphabet (GPT-2's: each byte is one printable character).
 */
#ifndef HYV_TEXT_BPE_TABLES_H
#define HYV_TEXT_BPE_TABLES_H

#include <stdbool.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "../base/json.h"
#include "../base/util.h"
#include "bpe.h"

enum {
    HYV_BPE_TOKENS_MAX = 1 << 20,
    HYV_BPE_MERGES_MAX = 1 << 22,
    HYV_BPE_TOKEN_BYTES_MAX = 4096,
    HYV_BPE_RULES_MAX = 8,
    HYV_BPE_CONTENT_BYTES_MAX = 64,
    HYV_BPE_TEXT_BYTES_MAX = 1 << 20
};

/* A compiled expression; NULL members while unused. */
typedef struct hyv_regex {
    pcre2_code *code;
    pcre2_match_data *match;
} hyv_regex;

typedef struct hyv_rewrite {
    enum { HYV_REWRITE_NFC, HYV_REWRITE_LOWER, HYV_REWRITE_REPLACE } kind;
    hyv_regex pattern; /* of REPLACE */
    char *content;
} hyv_rewrite;

typedef struct hyv_cut {
    hyv_regex pattern;
    bool keep_matches, keep_gaps;
} hyv_cut;

typedef struct hyv_token {
    uint32_t offset, length; /* in `texts` */
    int32_t id;
} hyv_token;

/* Tokens that stand in the text as they are, found before everything else. */
typedef struct hyv_added {
    char *text;
    size_t length;
    int32_t id;
    bool special;
} hyv_added;

typedef struct hyv_merge {
    int32_t left, right; /* ids */
    int32_t rank;        /* -1: a free slot */
    int32_t result;
} hyv_merge;

struct hyv_bpe {
    hyv_rewrite rewrites[HYV_BPE_RULES_MAX];
    hyv_cut cuts[HYV_BPE_RULES_MAX];
    int rewrite_count, cut_count;
    pcre2_general_context *memory; /* PCRE2 allocates through hyv_malloc, too */
    pcre2_compile_context *compiling;
    pcre2_match_context *limits;

    hyv_string texts;
    hyv_token *tokens; /* hash table by text; length 0 is free */
    size_t token_slots, token_count;
    hyv_merge *merges; /* hash table by pair */
    size_t merge_slots, merge_count;
    hyv_added *added;
    size_t added_count;
    bool added_starts[256]; /* first bytes of added tokens */

    char *suffix;     /* of the last symbol of a piece, "" for none */
    bool whole_first; /* a piece that is a token itself is not merged */
    int32_t unknown;
    int32_t first_ids[256], last_ids[256]; /* of single bytes; last: with the suffix; -1: none */
    int32_t bos, eos;
    int64_t size;
};

/* The byte-level alphabet: UTF-8 of the character that stands for a byte; returns its length. */
int hyv_bpe_symbol(uint8_t byte, char out[2]);

/* Tables with room for so many entries; false: no memory. */
bool hyv_bpe_reserve(hyv_bpe *bpe, size_t tokens, size_t merges);

/* -1 if there is no such token. */
int32_t hyv_bpe_find(const hyv_bpe *bpe, const char *text, size_t length);

/* False: no memory. Room must have been reserved. The last entry of a pair wins. */
bool hyv_bpe_add_token(hyv_bpe *bpe, const char *text, size_t length, int32_t id);
void hyv_bpe_add_merge(hyv_bpe *bpe, int32_t left, int32_t right, int32_t rank, int32_t result);

/* While a folder is read: the file at hand and how far it is. */
typedef struct hyv_bpe_reader {
    hyv_bpe *bpe;
    hyv_json doc;
    hyv_log *log;
    bool within;     /* a sequence of rules */
    bool byte_level; /* the last pre-tokenizer has been seen */
} hyv_bpe_reader;

/* Errors, in words. */
int hyv_bpe_unknown(const hyv_bpe_reader *r, const char *part, const char *kind);
int hyv_bpe_no_memory(const hyv_bpe_reader *r);

/* Calls `read` for the rule, or for each part of a sequence of rules (its member `parts`), with the
 * rule's type. */
typedef int hyv_bpe_rule_reader(hyv_bpe_reader *r, const json_t *rule, const char *kind);
int hyv_bpe_each_rule(hyv_bpe_reader *r, const json_t *rule, const char *parts,
                      hyv_bpe_rule_reader *read);

/* The document's normalizer and pre_tokenizer. */
int hyv_bpe_read_rules(hyv_bpe_reader *r);

#endif
