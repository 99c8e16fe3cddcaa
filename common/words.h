#ifndef COMMON_WORDS_H
#define COMMON_WORDS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/span.h"

/* Takes the next word off *rest, by the rules of Redis' inline commands and configuration lines:
 * words are separated by white space; "..." knows \n \r \t \b \a \xHH and \c for any other c; '...'
 * knows \' only; a closing quote must be followed by white space or the end. A byte of zero ends
 * the text.
 *
 *   out   room for rest->len bytes; *len bytes of it are the word (it may hold any byte)
 *
 * Returns 1: a word; 0: no more; -1: unbalanced quotes. Cost: linear. */
int word_next(struct span *rest, char *out, size_t *len);

#endif
