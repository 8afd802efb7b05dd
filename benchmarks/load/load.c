/* Commands on the standard input, one JSON object each on the standard output.
 *
 *   connect N             open N connections
 *   closed SECONDS        every connection always has `depth` batches on their way
 *   open SECONDS RATE     so many batches a second, whatever the answers do; latency counts from the scheduled time
 *   idle SECONDS          answer pings
 *
 * It ends with the standard input.
 */
#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 15000000000LL /* ns for connections to open, and for the last answers */
#define READ (1 << 18)
#define HISTOGRAM (64 * 64)

Options options = {.host = "127.0.0.1", .path = "/api/v1/events", .type = "load", .id_header = "X-User-ID",
                   .port = 8080, .batch = 1, .size = 100, .depth = 1};

static const Transport *transport = &websocket;
static struct addrinfo *address;
static int epoll, timer;
static Connection **connections;
static uint32_t count, opening, lost;

/* Connections that may send, in a ring; each is in it at most once. */
static uint32_t *ring, ring_first, ring_size;

/* The phase that runs. */
static bool running, paced;
static uint64_t next_seq = 1, sent, acknowledged, refused, wrong, pings;
static int64_t outstanding;
static int64_t histogram[HISTOGRAM], lateness[HISTOGRAM];
static char complaint[200];

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static double cpu(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void die(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

uint8_t *bytes_more(Bytes *to, size_t size) {
    if (to->size + size > to->room) {
        to->room = to->size + size > 2 * to->room ? to->size + size : 2 * to->room;
        to->data = realloc(to->data, to->room);
        if (!to->data) die("memory");
    }
    to->size += size;
    return to->data + to->size - size;
}

void bytes_add(Bytes *to, const void *data, size_t size) {
    if (size) memcpy(bytes_more(to, size), data, size);
}

void bytes_text(Bytes *to, const char *text) { bytes_add(to, text, strlen(text)); }

void bytes_drop(Bytes *to, size_t size) {
    to->size -= size;
    if (to->size) {
        memmove(to->data, to->data + size, to->size);
        return;
    }
    free(to->data);
    *to = (Bytes){0};
}

/* 64 steps for each doubling, of microseconds: off by at most 1.6 percent. */
static void note(int64_t *into, int64_t nanoseconds) {
    uint64_t value = nanoseconds > 0 ? (uint64_t)nanoseconds / 100 : 0; /* tenths of a microsecond */
    int shift = value < 128 ? 0 : 57 - __builtin_clzll(value);
    int index = shift * 64 + (int)(value >> shift);
    into[index < HISTOGRAM ? index : HISTOGRAM - 1]++;
}

static double percentile(const int64_t *of, double share) {
    int64_t all = 0, seen = 0;
    for (int i = 0; i < HISTOGRAM; i++) all += of[i];
    if (!all) return 0;
    for (int i = 0; i < HISTOGRAM; i++) {
        seen += of[i];
        if ((double)seen >= share * (double)all) {
            int shift = i < 128 ? 0 : i / 64 - 1;
            int64_t value = (int64_t)(i - shift * 64) << shift;
            return (double)value / 1e4; /* ms */
        }
    }
    return 0;
}

static void watch(Connection *connection, bool writing) {
    struct epoll_event event = {.events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0), .data.ptr = connection};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, connection->fd, &event)) die("epoll_ctl");
    connection->writing = writing;
}

static void lose(Connection *connection) {
    if (connection->failed) return;
    if (!connection->open) opening--;
    connection->failed = true;
    connection->open = false;
    lost++;
    outstanding -= connection->pending;
    wrong += (uint64_t)connection->pending;
    connection->pending = 0;
    memset(connection->slots, 0, (size_t)options.depth * sizeof(Slot));
    close(connection->fd);
}

/* Hand bytes to the socket; what it does not take waits in connection->out. */
static void hand_over(Connection *connection, const uint8_t *data, size_t size) {
    if (connection->failed) return;
    if (connection->out.size) {
        bytes_add(&connection->out, data, size);
        return;
    }
    ssize_t taken = send(connection->fd, data, size, MSG_NOSIGNAL);
    if (taken < 0) {
        if (errno != EAGAIN) {
            lose(connection);
            return;
        }
        taken = 0;
    }
    if ((size_t)taken < size) {
        bytes_add(&connection->out, data + taken, size - (size_t)taken);
        if (!connection->writing) watch(connection, true);
    }
}

static void list(Connection *connection) {
    if (connection->listed || !connection->open || connection->pending >= options.depth) return;
    connection->listed = true;
    ring[(ring_first + ring_size++) % count] = connection->index;
}

static void add_request(Connection *connection, int64_t due, Bytes *out) {
    int slot = 0;
    while (connection->slots[slot].seq) slot++;
    connection->slots[slot].seq = next_seq++;
    connection->slots[slot].due = due;
    connection->pending++;
    outstanding++;
    sent++;
    transport->request(connection, slot, out);
}

void opened(Connection *connection) {
    connection->open = true;
    opening--;
}

void pinged(void) { pings++; }

void answered(Connection *connection, int slot, Verdict verdict, const uint8_t *body, size_t size) {
    if (verdict != GOOD && !complaint[0]) {
        size_t length = size < sizeof complaint - 1 ? size : sizeof complaint - 1;
        for (size_t i = 0; i < length; i++) {
            complaint[i] = (char)(body[i] < 32 || body[i] > 126 || body[i] == '"' || body[i] == '\\' ? ' ' : body[i]);
        }
    }
    if (verdict == REFUSED) refused++;
    if (slot < 0 || !connection->slots[slot].seq) {
        if (verdict != REFUSED) wrong++;
        return;
    }
    if (verdict == WRONG) wrong++;
    if (verdict == GOOD) {
        acknowledged++;
        note(histogram, now() - connection->slots[slot].due);
    }
    connection->slots[slot].seq = 0;
    connection->pending--;
    outstanding--;
}

static void readable(Connection *connection) {
    static uint8_t buffer[READ + (1 << 20)];
    static Bytes out;
    size_t kept = connection->rest.size;
    if (kept > sizeof buffer - READ) {
        lose(connection);
        return;
    }
    memcpy(buffer, connection->rest.data ? connection->rest.data : buffer, kept);
    ssize_t got = recv(connection->fd, buffer + kept, READ, 0);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) return;
        lose(connection);
        return;
    }
    size_t size = kept + (size_t)got;
    out.size = 0;
    long taken = transport->take(connection, buffer, size, &out);
    if (taken < 0) {
        lose(connection);
        return;
    }
    connection->rest.size = 0;
    if ((size_t)taken < size) {
        bytes_add(&connection->rest, buffer + taken, size - (size_t)taken);
    } else if (connection->rest.data) {
        bytes_drop(&connection->rest, 0);
    }
    if (running && !paced) {
        while (connection->open && connection->pending < options.depth) add_request(connection, now(), &out);
    } else if (running) {
        list(connection);
    }
    if (out.size) hand_over(connection, out.data, out.size);
}

static void writable(Connection *connection) {
    if (!connection->out.size) {
        /* It has connected. */
        int problem = 0;
        socklen_t length = sizeof problem;
        getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &problem, &length);
        if (problem) {
            lose(connection);
            return;
        }
        static Bytes out;
        out.size = 0;
        transport->hello(connection, &out);
        watch(connection, false);
        if (out.size) hand_over(connection, out.data, out.size);
        return;
    }
    ssize_t taken = send(connection->fd, connection->out.data, connection->out.size, MSG_NOSIGNAL);
    if (taken < 0 && errno != EAGAIN) {
        lose(connection);
        return;
    }
    if (taken > 0) bytes_drop(&connection->out, (size_t)taken);
    if (!connection->out.size) watch(connection, false);
}

/* Wait for something to happen, at most until `until`, and let it. */
static void turn(int64_t until) {
    struct epoll_event events[256];
    int64_t left = until - now();
    int timeout = left <= 0 ? 0 : (int)((left + 999999) / 1000000);
    int ready = epoll_wait(epoll, events, 256, timeout);
    for (int i = 0; i < ready; i++) {
        Connection *connection = events[i].data.ptr;
        if (!connection) {
            uint64_t expired;
            if (read(timer, &expired, sizeof expired) < 0 && errno != EAGAIN) die("timer");
            continue;
        }
        if (connection->failed) continue;
        if (events[i].events & EPOLLOUT) writable(connection);
        if (!connection->failed && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(connection);
    }
}

static void connect_one(Connection *connection) {
    int one = 1;
    connection->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connection->fd < 0) die("socket");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(connection->fd, address->ai_addr, address->ai_addrlen) && errno != EINPROGRESS) die("connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = connection};
    connection->writing = true;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event)) die("epoll_ctl");
    opening++;
}

static void do_connect(uint32_t more) {
    int64_t begin = now(), end = begin + 4 * PATIENCE;
    uint32_t first = count, before = lost;
    connections = realloc(connections, (count + more) * sizeof *connections);
    ring = realloc(ring, (count + more) * sizeof *ring);
    ring_size = 0;
    for (uint32_t i = first; i < first + more; i++) {
        Connection *connection = connections[count++] = calloc(1, sizeof(Connection));
        connection->index = i;
        connection->slots = calloc((size_t)options.depth, sizeof(Slot));
        connect_one(connection);
        while (opening >= 100 && now() < end) turn(now() + 100000000);
    }
    while (opening && now() < end) turn(now() + 100000000);
    for (uint32_t i = 0; i < count; i++) connections[i]->listed = false;
    printf("{\"connected\": %u, \"failed\": %u, \"seconds\": %.6f}\n", more - opening - (lost - before),
           opening + lost - before, (double)(now() - begin) / 1e9);
}

static void arm(int64_t at) {
    struct itimerspec when = {.it_value = {at / 1000000000, at % 1000000000}};
    if (timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL)) die("timerfd_settime");
}

static void pace(int64_t begin, int64_t end, double rate) {
    static Bytes out;
    uint64_t total = (uint64_t)((double)(end - begin) / 1e9 * rate);
    double gap = 1e9 / rate;
    for (uint32_t i = 0; i < count; i++) {
        connections[i]->listed = false;
        list(connections[i]);
    }
    while (sent < total && now() < end + PATIENCE && count > lost) {
        int64_t time = now();
        uint64_t due = time < begin ? 0 : (uint64_t)((double)(time - begin) / gap) + 1;
        if (due > total) due = total;
        while (sent < due && ring_size) {
            Connection *connection = connections[ring[ring_first]];
            ring_first = (ring_first + 1) % count;
            ring_size--;
            connection->listed = false;
            if (!connection->open) continue;
            int64_t scheduled = begin + (int64_t)((double)sent * gap);
            note(lateness, now() - scheduled);
            out.size = 0;
            add_request(connection, scheduled, &out);
            if (out.size) hand_over(connection, out.data, out.size);
            list(connection);
        }
        if (sent < total) arm(begin + (int64_t)((double)due * gap));
        turn(end + PATIENCE);
    }
}

static void keep_full(int64_t end) {
    static Bytes out;
    for (uint32_t i = 0; i < count; i++) {
        Connection *connection = connections[i];
        if (!connection->open) continue;
        out.size = 0;
        while (connection->pending < options.depth) add_request(connection, now(), &out);
        hand_over(connection, out.data, out.size);
        if (i % 100 == 99) turn(0);
    }
    while (now() < end && count > lost) turn(end);
}

static void do_run(double seconds, double rate) {
    int64_t begin = now(), end = begin + (int64_t)(seconds * 1e9);
    double cpu_before = cpu();
    uint32_t lost_before = lost;
    sent = acknowledged = refused = wrong = 0;
    complaint[0] = 0;
    memset(histogram, 0, sizeof histogram);
    memset(lateness, 0, sizeof lateness);
    ring_first = ring_size = 0;
    running = true;
    paced = rate > 0;
    if (paced) pace(begin, end, rate);
    else keep_full(end);
    running = false;
    uint64_t in_time = acknowledged;
    double elapsed = (double)(now() - begin) / 1e9;
    int64_t limit = now() + PATIENCE;
    while (outstanding && now() < limit) turn(limit);
    double used = cpu() - cpu_before, drained = (double)(now() - begin) / 1e9;
    uint64_t batch = (uint64_t)options.batch;
    printf("{\"sent\": %llu, \"acknowledged\": %llu, \"refused\": %llu, \"wrong\": %llu, \"unanswered\": %lld, "
           "\"lost_connections\": %u, \"complaint\": \"%s\", \"batches\": %llu, \"seconds\": %.6f, "
           "\"events_per_second\": %.1f, \"cpu\": %.6f, \"core\": %.4f, \"p50\": %.4f, \"p90\": %.4f, \"p95\": %.4f, "
           "\"p99\": %.4f, \"max\": %.4f, \"late_p99\": %.4f}\n",
           (unsigned long long)(sent * batch), (unsigned long long)(acknowledged * batch),
           (unsigned long long)(refused * batch), (unsigned long long)(wrong * batch),
           (long long)outstanding * options.batch, lost - lost_before, complaint, (unsigned long long)acknowledged,
           elapsed, (double)(in_time * batch) / elapsed, used, used / drained, percentile(histogram, 0.5),
           percentile(histogram, 0.9), percentile(histogram, 0.95), percentile(histogram, 0.99),
           percentile(histogram, 1), percentile(lateness, 0.99));
}

static void do_idle(double seconds) {
    uint64_t before = pings;
    uint32_t lost_before = lost;
    int64_t end = now() + (int64_t)(seconds * 1e9);
    while (now() < end) turn(end);
    printf("{\"pings\": %llu, \"lost_connections\": %u}\n", (unsigned long long)(pings - before), lost - lost_before);
}

static void read_options(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--transport")) {
            transport = !strcmp(value, "rest") ? &http : !strcmp(value, "grpc") ? &grpc : &websocket;
        } else if (!strcmp(name, "--format")) options.json = !strcmp(value, "json");
        else if (!strcmp(name, "--host")) options.host = value;
        else if (!strcmp(name, "--port")) options.port = atoi(value);
        else if (!strcmp(name, "--path")) options.path = value;
        else if (!strcmp(name, "--type")) options.type = value;
        else if (!strcmp(name, "--id-header")) options.id_header = value;
        else if (!strcmp(name, "--batch")) options.batch = atoi(value);
        else if (!strcmp(name, "--size")) options.size = atoi(value);
        else if (!strcmp(name, "--depth")) options.depth = atoi(value);
        else if (!strcmp(name, "--constant")) options.constant = atoi(value);
        else {
            fprintf(stderr, "load: unknown option %s\n", name);
            exit(1);
        }
    }
    if (transport == &http) options.depth = 1;
    if (options.depth < 1 || options.depth > 1024 || options.batch < 0 || options.size < 0) {
        fprintf(stderr, "load: depth, batch or size out of range\n");
        exit(1);
    }
    if (getrandom(&options.salt, sizeof options.salt, 0) != sizeof options.salt) die("getrandom");
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    body_make();
    prctl(PR_SET_TIMERSLACK, 1);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    char port[8];
    snprintf(port, sizeof port, "%d", options.port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    if (getaddrinfo(options.host, port, &hints, &address)) {
        fprintf(stderr, "load: unknown host %s\n", options.host);
        return 1;
    }
    epoll = epoll_create1(0);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || timer < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event)) die("epoll");
    char line[200];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        double seconds, rate;
        unsigned more;
        if (sscanf(line, "connect %u", &more) == 1) do_connect(more);
        else if (sscanf(line, "closed %lf", &seconds) == 1 && count) do_run(seconds, 0);
        else if (sscanf(line, "open %lf %lf", &seconds, &rate) == 2 && count && rate > 0) do_run(seconds, rate);
        else if (sscanf(line, "idle %lf", &seconds) == 1) do_idle(seconds);
        else {
            fprintf(stderr, "load: cannot: %s", line);
            return 1;
        }
    }
    return 0;
}
