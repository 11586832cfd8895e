/* What a call says and what the agent answers, read from bytes: nothing here does anything. */
#ifndef TOWPATH_REQUEST_H
#define TOWPATH_REQUEST_H

#include "scan.h"

#define LONGEST_NAME 256  /* of a namespace, a network, a container or an interface, with the zero */
#define LONGEST_PATH 4096

typedef struct {
    char version[32];           /* cniVersion; the oldest where none is said */
    char type[LONGEST_NAME];    /* the plugin that is called, ours or one that calls us; empty where it is longer */
    char network[LONGEST_NAME]; /* name */
    char folder[LONGEST_PATH];  /* host-local's dataDir */
    char socket[108];           /* the agent's; empty: there is none to ask */
    text waiting;               /* names of namespaces that the configuration's own ranges are not for; "*": of all */
    text ranges;
    text attachments;           /* of GC: those that are to stay */
    bool lists_attachments;
} configuration;

/* Read what we need of a configuration; NULL, or what is wrong with it. */
const char *configuration_read(text json, configuration *into);

/* Whether a namespace's pods have to wait for the agent. */
bool has_to_wait(const configuration *from, const char *namespace);

/* Whether GC keeps what a container has on an interface. */
bool is_kept(const configuration *from, const char *container, const char *interface);

/* The value of a name in CNI_ARGS (`NAME=VALUE;NAME=VALUE`); false where there is none, or it is too long. */
bool argument(const char *arguments, const char *name, char *into, size_t size);

typedef enum { ANSWER_NONE, ANSWER_USE, ANSWER_REFUSE } verdict;

/* The agent's answer, `use LENGTH\n` or `refuse CODE LENGTH\n` and so many bytes: a configuration, or a sentence. Anything
 * else, one that is not whole included, is none. */
verdict answer_read(text answer, text *content, unsigned *code);

/* Text as it stands inside a JSON string; cut where it would be longer than `size`. */
void quoted(text from, char *into, size_t size);

#endif
