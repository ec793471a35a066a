/* The words that a small model knows, listed in its folder's vocabulary.txt.
 *
 * One word a line, UTF-8; a line that begins with # goes into the description of what the model
 * knows. Ideographs stand without blanks between words, so a run of them is cut into the longest
 * listed words. Knows no tokens and no model.
 */
#ifndef HYV_TEXT_VOCABULARY_H
#define HYV_TEXT_VOCABULARY_H

#include "../base/log.h"
#include "../base/util.h"

enum { HYV_VOCABULARY_BYTES_MAX = 65536, HYV_VOCABULARY_NAMED_MAX = 5 };

typedef struct hyv_vocabulary hyv_vocabulary;

/* *v stays NULL if there is no such file. -EBADMSG: not UTF-8, or nothing in it; -EFBIG; -ENOMEM.
 */
int hyv_vocabulary_open(hyv_vocabulary **v, const char *path, hyv_log *log);
void hyv_vocabulary_close(hyv_vocabulary **v);

/* The lines with #, joined by blanks; "" if there are none. */
const char *hyv_vocabulary_about(const hyv_vocabulary *v);

/* Words of a UTF-8 prompt that are not listed, without regard to case: the first
 * HYV_VOCABULARY_NAMED_MAX different ones are appended to *list as `"a", "b"`. Returns how many
 * were found (each occurrence counts), or -ENOMEM. */
int hyv_vocabulary_unknown(const hyv_vocabulary *v, const char *prompt, hyv_string *list);

#endif
