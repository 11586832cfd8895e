#include "scan.h"

#include <string.h>

#define NONE ((size_t)-1)

static bool is_space(char one) { return one == ' ' || one == '\t' || one == '\n' || one == '\r'; }

static bool is_digit(char one) { return one >= '0' && one <= '9'; }

static size_t after_space(text json, size_t at) {
    while (at < json.length && is_space(json.at[at])) at++;
    return at;
}

static bool is_at(text json, size_t at, char wanted) { return at < json.length && json.at[at] == wanted; }

static int hex(char one) {
    if (is_digit(one)) return one - '0';
    if (one >= 'a' && one <= 'f') return one - 'a' + 10;
    if (one >= 'A' && one <= 'F') return one - 'A' + 10;
    return -1;
}

/* The four hexadecimal digits at `at`; -1 where there are none. */
static long code_unit(text json, size_t at) {
    long value = 0;
    for (size_t end = at + 4; at < end; at++) {
        if (at >= json.length || hex(json.at[at]) < 0) return -1;
        value = value * 16 + hex(json.at[at]);
    }
    return value;
}

/* Each of these: where what begins at `at` ends; NONE where it is not what it has to be. */

static size_t after_string(text json, size_t at) {
    if (!is_at(json, at, '"')) return NONE;
    for (at++; at < json.length; at++) {
        if (json.at[at] == '"') return at + 1;
        if ((unsigned char)json.at[at] < 0x20) return NONE;
        if (json.at[at] != '\\') continue;
        if (++at >= json.length) return NONE;
        if (json.at[at] == 'u') {
            if (code_unit(json, at + 1) < 0) return NONE;
            at += 4;
        } else if (json.at[at] == '\0' || !strchr("\"\\/bfnrt", json.at[at])) {
            return NONE;
        }
    }
    return NONE;
}

static size_t after_digits(text json, size_t at) {
    size_t first = at;
    while (at < json.length && is_digit(json.at[at])) at++;
    return at == first ? NONE : at;
}

static size_t after_number(text json, size_t at) {
    if (is_at(json, at, '-')) at++;
    at = is_at(json, at, '0') ? at + 1 : after_digits(json, at);
    if (at != NONE && is_at(json, at, '.')) at = after_digits(json, at + 1);
    if (at != NONE && (is_at(json, at, 'e') || is_at(json, at, 'E'))) {
        at++;
        if (is_at(json, at, '+') || is_at(json, at, '-')) at++;
        at = after_digits(json, at);
    }
    return at;
}

static size_t after_word(text json, size_t at) {
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i]);
        if (json.length - at >= length && memcmp(json.at + at, words[i], length) == 0) return at + length;
    }
    return NONE;
}

static size_t after_value(text json, size_t at, int depth);

/* From the name of a member to its value. */
static size_t after_name(text json, size_t at) {
    at = after_string(json, at);
    if (at == NONE) return NONE;
    at = after_space(json, at);
    return is_at(json, at, ':') ? after_space(json, at + 1) : NONE;
}

static size_t after_many(text json, size_t at, int depth, char close) {
    if (depth >= SCAN_DEPTH) return NONE;
    at = after_space(json, at + 1);
    if (is_at(json, at, close)) return at + 1;
    for (;;) {
        if (close == '}') at = after_name(json, at);
        if (at != NONE) at = after_value(json, at, depth + 1);
        if (at == NONE) return NONE;
        at = after_space(json, at);
        if (is_at(json, at, close)) return at + 1;
        if (!is_at(json, at, ',')) return NONE;
        at = after_space(json, at + 1);
    }
}

static size_t after_value(text json, size_t at, int depth) {
    if (at >= json.length) return NONE;
    switch (json.at[at]) {
    case '{': return after_many(json, at, depth, '}');
    case '[': return after_many(json, at, depth, ']');
    case '"': return after_string(json, at);
    case 't': case 'f': case 'n': return after_word(json, at);
    default: return after_number(json, at);
    }
}

bool scan_whole(text json) {
    size_t end = after_value(json, after_space(json, 0), 0);
    return end != NONE && after_space(json, end) == json.length;
}

bool scan_member(text object, const char *name, text *value) {
    size_t at = after_space(object, 0), length = strlen(name);
    bool found = false;
    if (!is_at(object, at, '{')) return false;
    at = after_space(object, at + 1);
    while (!is_at(object, at, '}')) {
        size_t begin = after_name(object, at);
        size_t end = begin == NONE ? NONE : after_value(object, begin, 1);
        if (end == NONE) return false;
        /* a name with the escapes that it does not need is another one to us, as it is to nobody who writes these */
        if (object.length - at > length + 1 && memcmp(object.at + at + 1, name, length) == 0 && object.at[at + 1 + length] == '"') {
            *value = (text){object.at + begin, end - begin};
            found = true;
        }
        at = after_space(object, end);
        if (is_at(object, at, ',')) {
            at = after_space(object, at + 1);
            if (is_at(object, at, '}')) return false;
        } else if (!is_at(object, at, '}')) {
            return false;
        }
    }
    return found;
}

bool scan_element(text array, size_t *from, text *element) {
    size_t at = *from;
    if (at == 0) {
        at = after_space(array, 0);
        if (!is_at(array, at, '[')) return false;
        at = after_space(array, at + 1);
        if (is_at(array, at, ']')) return false;
    } else {
        at = after_space(array, at);
        if (!is_at(array, at, ',')) return false;
        at = after_space(array, at + 1);
    }
    size_t end = after_value(array, at, 1);
    if (end == NONE) return false;
    *element = (text){array.at + at, end - at};
    *from = end;
    return true;
}

bool scan_empty(text array) {
    size_t from = 0;
    text element;
    return !scan_element(array, &from, &element);
}

/* UTF-8 of a code point; how many bytes. */
static size_t encoded(unsigned long point, char into[4]) {
    if (point < 0x80) {
        into[0] = (char)point;
        return 1;
    }
    size_t more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xC0, 0xE0, 0xF0};
    into[0] = (char)(lead[more] | point >> 6 * more);
    for (size_t i = 1; i <= more; i++) into[i] = (char)(0x80 | (point >> 6 * (more - i) & 0x3F));
    return more + 1;
}

/* The code point of the escape whose `u` is at `*at`, which is left at its last digit; -1 for half a pair. */
static long escaped(text json, size_t *at) {
    long first = code_unit(json, *at + 1);
    *at += 4;
    if (first < 0xD800 || first > 0xDFFF) return first;
    if (first > 0xDBFF || !is_at(json, *at + 1, '\\') || !is_at(json, *at + 2, 'u')) return -1;
    long second = code_unit(json, *at + 3);
    if (second < 0xDC00 || second > 0xDFFF) return -1;
    *at += 6;
    return 0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00);
}

bool scan_string(text value, char *into, size_t size) {
    static const char plain[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    size_t used = 0;
    if (after_string(value, 0) != value.length) return false;
    for (size_t at = 1; at + 1 < value.length; at++) {
        char bytes[4] = {value.at[at]};
        size_t count = 1;
        if (value.at[at] == '\\') {
            at++;
            if (value.at[at] == 'u') {
                long point = escaped(value, &at);
                if (point <= 0) return false;
                count = encoded((unsigned long)point, bytes);
            } else {
                bytes[0] = meant[strchr(plain, value.at[at]) - plain];
            }
        }
        if (count >= size - used) return false;
        memcpy(into + used, bytes, count);
        used += count;
    }
    into[used] = '\0';
    return true;
}
