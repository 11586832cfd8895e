/* JSON (RFC 8259) read in place: where a value begins and ends, a member of an object, the elements of an array.
 *
 * Nothing is copied or allocated. Every function judges all that it passes over, so that text which is no JSON gives no
 * answer, whoever wrote it.
 */
#ifndef TOWPATH_SCAN_H
#define TOWPATH_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#define SCAN_DEPTH 64 /* values inside values, at most */

typedef struct {
    const char *at;
    size_t length;
} text;

/* Whether it is one value, and nothing else but white space around it. */
bool scan_whole(text json);

/* The value of an object's member; false where it is no object or has none of that name. The last one of a name counts. */
bool scan_member(text object, const char *name, text *value);

/* The next element of an array; `*from` is 0 before the first one. False after the last, and where it is no array. */
bool scan_element(text array, size_t *from, text *element);

/* What a string says, as a C string of at most `size` bytes; false where it is none, is longer, or has a zero in it. */
bool scan_string(text value, char *into, size_t size);

/* Whether a value is an array without any element, or no array. */
bool scan_empty(text array);

#endif
