/* towpath-ipam: asks the agent which addresses a pod may have, and has host-local give them out (CNI 1.1.0).
 *
 * Addresses are given out and taken back by host-local alone, which takes this program's place: it is handed the agent's
 * configuration, or the runtime's own where no agent answers. Only ADD asks. So a pod can always be deleted, and all but
 * pods whose namespace has pools of its own can always be made.
 *
 * Before a plugin that gives an interface away it stands by itself: ADD asks whether another pod has that, and says so.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "request.h"

#define PATIENCE 2000       /* milliseconds for the agent's answer */
#define LOCK_PATIENCE 10000 /* milliseconds for host-local's lock */
#define LARGEST (4u << 20)  /* bytes of a configuration or an answer */
#define OURS "towpath-"     /* what the agent writes in place of a container begins with this */
#define PROGRAM "towpath-ipam"
#define FORM "2" /* of the agent's configurations, as VERSION tells it: one that knows less is not asked for more */

enum { INVALID_ENVIRONMENT = 4, IO_FAILED = 5, NOT_DECODED = 6, INVALID_CONFIGURATION = 7, TRY_AGAIN = 11, UNAVAILABLE = 50, REFUSED = 100 };

static configuration asked;

/* End with an error as the runtime reads it (CNI 1.1.0, section 5, Error). */
static _Noreturn void fail(unsigned code, text message) {
    static char said[3 * 4096];
    quoted(message, said, sizeof said);
    printf("{\"cniVersion\":\"%s\",\"code\":%u,\"msg\":\"%s\"}\n", *asked.version ? asked.version : "0.1.0", code, said);
    fflush(stdout);
    _exit(1);
}

static _Noreturn void __attribute__((format(printf, 2, 3))) failf(unsigned code, const char *format, ...) {
    char message[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    size_t whole = length < 0 ? 0 : (size_t)length < sizeof message ? (size_t)length : sizeof message - 1;
    fail(code, (text){message, whole});
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

static const char *environment(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

/* Everything from a descriptor up to its end, at most LARGEST bytes; false where it is more, fails or takes too long. */
static bool read_all(int from, text *into, long long deadline) {
    size_t size = 1 << 16, used = 0;
    char *bytes = malloc(size);
    while (bytes) {
        if (deadline) {
            struct pollfd ready = {.fd = from, .events = POLLIN};
            long long left = deadline - now();
            if (left <= 0 || poll(&ready, 1, (int)left) == 0) break;
        }
        ssize_t count = read(from, bytes + used, size - used);
        if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (count < 0) break;
        used += (size_t)count;
        if (count == 0) {
            *into = (text){bytes, used};
            return true;
        }
        if (used < size) continue;
        if (size >= LARGEST) break;
        char *more = realloc(bytes, size *= 2);
        if (!more) break;
        bytes = more;
    }
    free(bytes);
    return false;
}

static bool write_all(int into, text bytes, long long deadline) {
    while (bytes.length) {
        ssize_t count = send(into, bytes.at, bytes.length, MSG_NOSIGNAL);
        if (count >= 0) {
            bytes = (text){bytes.at + count, bytes.length - (size_t)count};
            continue;
        }
        if (errno == EINTR) continue;
        struct pollfd ready = {.fd = into, .events = POLLOUT};
        long long left = deadline - now();
        if (errno != EAGAIN || left <= 0 || poll(&ready, 1, (int)left) == 0) return false;
    }
    return true;
}

/* A connection to the agent; -1 where there is none. One whose queue is full is tried again until the deadline. */
static int connected(const char *path, long long deadline) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int made = *path ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (made < 0) return -1;
    memcpy(address.sun_path, path, strlen(path) + 1);
    while (connect(made, (struct sockaddr *)&address, sizeof address) != 0) {
        if ((errno != EAGAIN && errno != EINTR) || now() >= deadline) {
            close(made);
            return -1;
        }
        poll(NULL, 0, 20);
    }
    return made;
}

/* Ask the agent. The question: the container, its interface and CNI_ARGS, a line each, and the configuration. */
static verdict ask(text json, text *content, unsigned *code) {
    long long deadline = now() + PATIENCE;
    char *head = NULL;
    text answer;
    verdict found = ANSWER_NONE;
    int agent = connected(asked.socket, deadline);
    if (agent < 0) return ANSWER_NONE;
    int length = asprintf(&head, "%s\n%s\n%s\n", environment("CNI_CONTAINERID"), environment("CNI_IFNAME"), environment("CNI_ARGS"));
    if (length > 0 && write_all(agent, (text){head, (size_t)length}, deadline) && write_all(agent, json, deadline)) {
        shutdown(agent, SHUT_WR);
        if (read_all(agent, &answer, deadline)) found = answer_read(answer, content, code);
    }
    close(agent);
    return found;
}

/* The path of host-local in the folders of CNI_PATH; false where there is none. */
static bool find_host_local(char *path, size_t size) {
    for (const char *folder = environment("CNI_PATH"); *folder;) {
        int length = (int)strcspn(folder, ":");
        if (snprintf(path, size, "%.*s/host-local", length, folder) < (int)size && access(path, X_OK) == 0) return true;
        folder += length + (folder[length] == ':');
    }
    return false;
}

static _Noreturn void become_host_local(void) {
    char path[LONGEST_PATH];
    if (!find_host_local(path, sizeof path))
        failf(IO_FAILED, "there is no host-local in CNI_PATH (%s), which gives out the addresses", environment("CNI_PATH"));
    execv(path, (char *[]){path, NULL});
    failf(IO_FAILED, "%s cannot be run: %s", path, strerror(errno));
}

/* The same, with these bytes to read. */
static _Noreturn void hand_to_host_local(text json) {
    int file = memfd_create("configuration", 0);
    for (size_t done = 0; file >= 0 && done < json.length;) {
        ssize_t count = write(file, json.at + done, json.length - done);
        if (count < 0 && errno != EINTR) failf(IO_FAILED, "the configuration cannot be handed on: %s", strerror(errno));
        if (count > 0) done += (size_t)count;
    }
    if (file < 0 || lseek(file, 0, SEEK_SET) < 0 || dup2(file, STDIN_FILENO) < 0)
        failf(IO_FAILED, "the configuration cannot be handed on: %s", strerror(errno));
    if (file != STDIN_FILENO) close(file);
    become_host_local();
}

static text configured(void) {
    text json;
    if (!read_all(STDIN_FILENO, &json, 0)) failf(IO_FAILED, "the configuration cannot be read, or is larger than %u bytes", LARGEST);
    const char *wrong = configuration_read(json, &asked);
    if (wrong) failf(scan_whole(json) ? INVALID_CONFIGURATION : NOT_DECODED, "%s", wrong);
    return json;
}

/* First of a network's plugins: a pod that may not have the next one's interface is told why; all others go on with nothing yet. */
static _Noreturn void admit(text json) {
    text content;
    unsigned code = 0;
    if (ask(json, &content, &code) == ANSWER_REFUSE) fail(code ? code : REFUSED, content);
    printf("{\"cniVersion\":\"%s\"}\n", asked.version);
    exit(0);
}

static _Noreturn void add(void) {
    text json = configured(), content;
    unsigned code = 0;
    char namespace[LONGEST_NAME] = "";
    for (const char *name = "CNI_CONTAINERID\0CNI_IFNAME\0CNI_ARGS\0"; *name; name += strlen(name) + 1)
        if (strchr(environment(name), '\n')) failf(INVALID_ENVIRONMENT, "%s has more than one line", name);
    if (strcmp(asked.type, PROGRAM) == 0) admit(json);
    argument(environment("CNI_ARGS"), "K8S_POD_NAMESPACE", namespace, sizeof namespace);
    switch (ask(json, &content, &code)) {
    case ANSWER_USE: hand_to_host_local(content);
    case ANSWER_REFUSE: fail(code ? code : REFUSED, content);
    case ANSWER_NONE: break;
    }
    if (has_to_wait(&asked, namespace))
        failf(TRY_AGAIN,
              "pods of namespace %s get addresses of their own pools, or fixed ones, which only towpath's agent on this node knows, and it"
              " gave no answer within %d s: this pod waits for it; look at the pod towpath-node of this node", namespace, PATIENCE / 1000);
    hand_to_host_local(json);
}

static _Noreturn void status(void) {
    char path[LONGEST_PATH];
    configured();
    if (!find_host_local(path, sizeof path))
        failf(UNAVAILABLE, "there is no host-local in CNI_PATH (%s), which gives out the addresses", environment("CNI_PATH"));
    if (scan_empty(asked.ranges)) failf(UNAVAILABLE, "ipam.ranges is empty: this node has no block of addresses");
    exit(0);
}

static int locked(int folder) {
    long long deadline = now() + LOCK_PATIENCE;
    int lock = openat(folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    while (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) != 0) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || now() >= deadline) return -1;
        poll(NULL, 0, 20);
    }
    return lock;
}

/* What a record of host-local says: the container, then its interface, a line each; false where it is not to be touched. */
static bool read_record(int folder, const char *name, char *bytes, size_t size, const char **interface) {
    int file = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t count = file < 0 ? -1 : read(file, bytes, size - 1);
    if (file >= 0) close(file);
    if (count <= 0 || (size_t)count == size - 1) return false;
    bytes[count] = '\0';
    char *rest = bytes + strcspn(bytes, "\r\n");
    if (*rest) *rest++ = '\0';
    rest += strspn(rest, "\r\n");
    rest[strcspn(rest, "\r\n")] = '\0';
    *interface = rest;
    return *bytes && strncmp(bytes, OURS, strlen(OURS)) != 0;
}

static bool is_address(const char *name) {
    return strspn(name, "0123456789abcdef.:") == strlen(name) && strpbrk(name, ".:");
}

/* Give back what no attachment has that the runtime still knows: host-local does nothing of the kind itself. */
static _Noreturn void collect(void) {
    char path[LONGEST_PATH + LONGEST_NAME + 1], record[2 * LONGEST_NAME];
    const char *interface;
    configured();
    if (!asked.lists_attachments) failf(INVALID_CONFIGURATION, "cni.dev/valid-attachments is missing: nothing is given back");
    snprintf(path, sizeof path, "%s/%s", asked.folder, asked.network);
    DIR *folder = opendir(path);
    if (!folder && errno == ENOENT) exit(0);
    if (!folder) failf(IO_FAILED, "%s cannot be read: %s", path, strerror(errno));
    if (locked(dirfd(folder)) < 0) failf(TRY_AGAIN, "host-local's lock in %s is not to be had: %s", path, strerror(errno));
    for (struct dirent *entry; (entry = readdir(folder));) {
        const char *name = entry->d_name;
        if (!is_address(name) || !read_record(dirfd(folder), name, record, sizeof record, &interface)) continue;
        if (!is_kept(&asked, record, interface) && unlinkat(dirfd(folder), name, 0) != 0 && errno != ENOENT)
            failf(IO_FAILED, "%s/%s cannot be given back: %s", path, name, strerror(errno));
    }
    exit(0);
}

static int versions(void) {
    puts("{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"],\"towpathForm\":" FORM "}");
    return 0;
}

int main(void) {
    const char *command = environment("CNI_COMMAND");
    if (strcmp(command, "ADD") == 0) add();
    if (strcmp(command, "DEL") == 0 || strcmp(command, "CHECK") == 0) become_host_local();
    if (strcmp(command, "STATUS") == 0) status();
    if (strcmp(command, "GC") == 0) collect();
    if (strcmp(command, "VERSION") == 0) return versions();
    failf(INVALID_ENVIRONMENT, "CNI_COMMAND is %s: it must be ADD, DEL, CHECK, STATUS, GC or VERSION", *command ? command : "unset");
}
