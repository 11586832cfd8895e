#include "request.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_FOLDER "/var/lib/cni/networks"

static bool is_file_name(const char *name) {
    return *name && *name != '.' && !strchr(name, '/');
}

const char *configuration_read(text json, configuration *into) {
    text ipam, value;
    memset(into, 0, sizeof *into);
    strcpy(into->version, "0.1.0");
    strcpy(into->folder, DEFAULT_FOLDER);
    if (!scan_whole(json)) return "the configuration is no JSON";
    if (scan_member(json, "cniVersion", &value) && !scan_string(value, into->version, sizeof into->version))
        return "cniVersion is no version";
    if (!scan_member(json, "name", &value) || !scan_string(value, into->network, sizeof into->network) || !is_file_name(into->network))
        return "name is no network's";
    if (scan_member(json, "type", &value) && !scan_string(value, into->type, sizeof into->type)) *into->type = '\0';
    if (!scan_member(json, "ipam", &ipam)) return "ipam is missing";
    if (scan_member(ipam, "dataDir", &value) && !scan_string(value, into->folder, sizeof into->folder))
        return "ipam.dataDir is no path";
    if (scan_member(ipam, "agent", &value) && !scan_string(value, into->socket, sizeof into->socket))
        return "ipam.agent is no path of a socket";
    scan_member(ipam, "waiting", &into->waiting);
    scan_member(ipam, "ranges", &into->ranges);
    if (scan_member(json, "cni.dev/valid-attachments", &into->attachments)) {
        char kind = *into->attachments.at; /* null: a list without any, as Go writes it */
        into->lists_attachments = kind == '[' || kind == 'n';
    }
    return NULL;
}

bool has_to_wait(const configuration *from, const char *namespace) {
    size_t position = 0;
    text element;
    char name[LONGEST_NAME];
    while (scan_element(from->waiting, &position, &element))
        if (scan_string(element, name, sizeof name) && (strcmp(name, "*") == 0 || strcmp(name, namespace) == 0)) return true;
    return false;
}

bool is_kept(const configuration *from, const char *container, const char *interface) {
    size_t position = 0;
    text element, value;
    char name[LONGEST_NAME];
    while (scan_element(from->attachments, &position, &element)) {
        if (!scan_member(element, "containerID", &value) || !scan_string(value, name, sizeof name)) return true;
        if (strcmp(name, container) != 0) continue;
        if (!scan_member(element, "ifname", &value) || !scan_string(value, name, sizeof name)) return true;
        if (!*interface || strcmp(name, interface) == 0) return true;
    }
    return false;
}

bool argument(const char *arguments, const char *name, char *into, size_t size) {
    size_t length = strlen(name);
    while (*arguments) {
        size_t end = strcspn(arguments, ";");
        if (end > length && arguments[length] == '=' && memcmp(arguments, name, length) == 0) {
            size_t value = end - length - 1;
            if (value >= size) return false;
            memcpy(into, arguments + length + 1, value);
            into[value] = '\0';
            return true;
        }
        arguments += end + (arguments[end] == ';');
    }
    return false;
}

/* The decimal number at `*at`, which is left behind it and the one character after it; false where there is none. */
static bool number(text from, size_t *at, char close, size_t *value) {
    size_t first = *at;
    for (*value = 0; *at < from.length && from.at[*at] >= '0' && from.at[*at] <= '9'; (*at)++) {
        if (*at - first >= 9) return false;
        *value = *value * 10 + (size_t)(from.at[*at] - '0');
    }
    return *at > first && *at < from.length && from.at[(*at)++] == close;
}

static bool begins(text from, const char *word) {
    return from.length >= strlen(word) && memcmp(from.at, word, strlen(word)) == 0;
}

verdict answer_read(text answer, text *content, unsigned *code) {
    size_t at, length, said = 0;
    verdict found;
    if (begins(answer, "use ")) {
        at = strlen("use ");
        found = ANSWER_USE;
    } else if (begins(answer, "refuse ")) {
        at = strlen("refuse ");
        found = ANSWER_REFUSE;
        if (!number(answer, &at, ' ', &said)) return ANSWER_NONE;
    } else {
        return ANSWER_NONE;
    }
    if (!number(answer, &at, '\n', &length) || answer.length - at != length) return ANSWER_NONE;
    *content = (text){answer.at + at, length};
    *code = (unsigned)said;
    return found == ANSWER_USE && !scan_whole(*content) ? ANSWER_NONE : found;
}

void quoted(text from, char *into, size_t size) {
    size_t used = 0, at;
    for (at = 0; at < from.length; at++) {
        unsigned char one = (unsigned char)from.at[at];
        char piece[8];
        if (one == '"' || one == '\\') snprintf(piece, sizeof piece, "\\%c", one);
        else if (one < 0x20 || one == 0x7F) snprintf(piece, sizeof piece, "\\u%04x", one);
        else snprintf(piece, sizeof piece, "%c", one);
        if (strlen(piece) >= size - used) break;
        strcpy(into + used, piece);
        used += strlen(piece);
    }
    if (at < from.length) { /* never half a character */
        while (used && ((unsigned char)into[used - 1] & 0xC0) == 0x80) used--;
        if (used && (unsigned char)into[used - 1] >= 0xC0) used--;
    }
    into[used] = '\0';
}
