/* POST over HTTP/1.1 connections that are kept. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* There is nothing to say before the first request, so a connection is open once it is connected. */
static void hello(Connection *connection, Bytes *out) {
    (void)out;
    opened(connection);
}

static void request(Connection *connection, int slot, Bytes *out) {
    char head[512];
    int length = snprintf(head, sizeof head,
                          "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: application/%s\r\n%s: load-%08x-%u\r\n"
                          "Content-Length: %zu\r\n\r\n",
                          options.path, options.host, options.port, options.json ? "json" : "proto",
                          options.id_header, options.salt, connection->index, body_size());
    bytes_add(out, head, (size_t)length);
    body_write(bytes_more(out, body_size()), connection, slot);
}

static long content_length(const uint8_t *head, const uint8_t *end) {
    static const char name[] = "\r\ncontent-length:";
    for (const uint8_t *at = head; at + sizeof name < end; at++) {
        at = memchr(at, '\r', (size_t)(end - at));
        if (!at || at + sizeof name >= end) break;
        if (!strncasecmp((const char *)at, name, sizeof name - 1)) {
            return strtol((const char *)at + sizeof name - 1, NULL, 10);
        }
    }
    return -1;
}

static long take(Connection *connection, const uint8_t *data, size_t size, Bytes *out) {
    (void)out;
    size_t at = 0;
    while (at < size) {
        const uint8_t *head = data + at;
        const uint8_t *end = memmem(head, size - at, "\r\n\r\n", 4);
        if (!end) break;
        if (size - at < 12 || memcmp(head, "HTTP/1.1 ", 9)) return -1;
        long length = content_length(head, end + 4);
        if (length < 0) {
            fprintf(stderr, "load: an answer without Content-Length: %.*s\n", (int)(end - head), head);
            return -1;
        }
        const uint8_t *payload = end + 4;
        if (payload + length > data + size) break;
        int slot;
        Verdict verdict = body_judge(connection, payload, (size_t)length, &slot);
        bool ok = !memcmp(head + 9, "200 ", 4);
        if (!ok) verdict = verdict == GOOD ? WRONG : REFUSED;
        answered(connection, slot < 0 ? 0 : slot, verdict, payload, (size_t)length);
        at += (size_t)(payload - head + length);
    }
    return (long)at;
}

const Transport http = {hello, request, take};
