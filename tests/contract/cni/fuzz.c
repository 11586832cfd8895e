/* Changes texts at random and has everything that reads them read each, out of memory of exactly its size.
 *
 *     fuzz SEED ROUNDS FILE…
 *
 * Made with sanitizers; it ends with 0 if nothing was read or written that should not be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request.h"

#define LARGEST 8192

static unsigned long long state;

static size_t below(size_t limit) { /* xorshift64 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return limit ? (size_t)(state % limit) : 0;
}

static size_t mutate(char *bytes, size_t length) {
    static const char *const pieces[] = {"{", "}", "[", "]", "\"", "\\", "\\u", "\\ud83d\\ude00", "\\u0000", ":", ",", "null",
                                         "-", "1e", "0.", "use ", "refuse ", "999999999999", "\n", ";", "=", "\"ipam\":{", "\xff"};
    for (size_t times = 1 + below(6); times; times--) {
        size_t at = below(length + 1), much = below(16);
        const char *piece = pieces[below(sizeof pieces / sizeof *pieces)];
        switch (below(5)) {
        case 0: if (at < length) bytes[at] = (char)below(256); break;
        case 1: length = at; break;
        case 2:
            if (length + strlen(piece) > LARGEST) break;
            memmove(bytes + at + strlen(piece), bytes + at, length - at);
            memcpy(bytes + at, piece, strlen(piece));
            length += strlen(piece);
            break;
        case 3:
            if (much > length - at) much = length - at;
            memmove(bytes + at, bytes + at + much, length - at - much);
            length -= much;
            break;
        default:
            if (length - at > LARGEST - length) break;
            memcpy(bytes + length, bytes + at, length - at);
            length += length - at;
        }
    }
    return length;
}

static void use(const char *bytes, size_t length) {
    char *exact = malloc(length ? length : 1), *line = malloc(length + 1), value[64];
    static configuration read;
    text content, one = {exact, length};
    unsigned code;
    size_t sizes[] = {1, 2, 7, 300};
    memcpy(exact, bytes, length);
    memcpy(line, bytes, length);
    line[length] = '\0';
    if (!configuration_read(one, &read)) {
        has_to_wait(&read, "default");
        is_kept(&read, "c", "eth0");
        scan_empty(read.ranges);
    }
    read.waiting = read.attachments = one; /* also what was not judged as a whole */
    has_to_wait(&read, "default");
    is_kept(&read, "c", "eth0");
    argument(line, "K8S_POD_NAMESPACE", value, sizeof value);
    answer_read(one, &content, &code);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *into = malloc(sizes[i]);
        quoted(one, into, sizes[i]);
        scan_string(one, into, sizes[i]);
        free(into);
    }
    free(exact);
    free(line);
}

int main(int count, char **arguments) {
    static char bytes[LARGEST + 1], original[LARGEST];
    state = strtoull(arguments[1], NULL, 10) | 1;
    for (long round = strtol(arguments[2], NULL, 10); round; round--) {
        FILE *file = fopen(arguments[3 + below((size_t)count - 3)], "rb");
        if (!file) return 2;
        size_t length = fread(original, 1, LARGEST / 2, file);
        fclose(file);
        memcpy(bytes, original, length);
        length = mutate(bytes, length);
        use(bytes, length);
    }
    return 0;
}
