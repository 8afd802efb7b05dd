/* A load generator for servers that speak the wire format of raccoon: one thread, one epoll.
 *
 * load.c        commands, sockets, when what is sent
 * body.c        batches and answers, in protobuf and JSON
 * websocket.c, http.c, grpc.c   how a body gets over the wire, and the answer back
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define GUID 36 /* characters */

/* Bytes that grow. */
typedef struct {
    uint8_t *data;
    size_t size, room;
} Bytes;

void bytes_add(Bytes *to, const void *data, size_t size);
uint8_t *bytes_more(Bytes *to, size_t size); /* room for so many more, counted in already */
void bytes_text(Bytes *to, const char *text);
void bytes_drop(Bytes *to, size_t size); /* from the front */

/* One unanswered batch. seq 0: none. due: when it was, or should have been, sent. */
typedef struct {
    uint64_t seq;
    int64_t due;
    uint32_t stream; /* gRPC */
    uint16_t said;   /* gRPC: bytes of the answer so far */
} Slot;

typedef struct Http2 Http2;

typedef struct {
    int fd;
    uint32_t index;
    bool open, writing, listed, failed;
    int pending;
    Bytes rest; /* the beginning of something that has not all arrived */
    Bytes out;  /* what the socket has not taken yet */
    Slot *slots;
    Http2 *http2;
} Connection;

typedef struct {
    void (*hello)(Connection *, Bytes *out);
    void (*request)(Connection *, int slot, Bytes *out);
    /* Takes what is complete of data. Returns the bytes taken, or -1 if the peer broke the protocol. */
    long (*take)(Connection *, const uint8_t *data, size_t size, Bytes *out);
} Transport;

extern const Transport websocket, http, grpc;

typedef enum { GOOD, REFUSED, WRONG } Verdict;

/* What is the same for the whole run. */
typedef struct {
    const char *host, *path, *type, *id_header;
    int port, batch, size, depth;
    bool json, constant; /* constant: the server's answer names no request */
    uint32_t salt;
} Options;

extern Options options;

/* body.c */
void body_make(void);
size_t body_size(void);
/* Write the batch of this slot to `to`, which has body_size() bytes. */
void body_write(uint8_t *to, const Connection *, int slot);
/* Judge an answer to whatever request of this connection it names; which one that was goes to *slot (-1: none). */
Verdict body_judge(const Connection *, const uint8_t *data, size_t size, int *slot);

/* load.c, for the transports */
void opened(Connection *);
void answered(Connection *, int slot, Verdict, const uint8_t *body, size_t size);
void pinged(void);

#endif
