/* Unary gRPC calls over HTTP/2 without TLS (RFC 9113), the client's side.
 *
 * Header blocks of the server are not decoded: that a call succeeded is seen from its message, which a failed one
 * does not have. Its own headers go into the server's dynamic table with the first call of a connection and are named
 * by their index from then on, as every gRPC client does.
 */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

#define FRAME 16384  /* what every peer takes */
#define ANSWER 1024  /* longest answer that is looked at */
#define WINDOW (1 << 24)

struct Http2 {
    int64_t window, stream_window; /* bytes that may be sent: on the connection; of the message being sent */
    int64_t initial;               /* stream_window of a new stream */
    int64_t received;              /* since the last WINDOW_UPDATE */
    uint32_t next_stream;
    size_t sent;        /* bytes of the message being sent */
    int queued, first;  /* slots whose message is still to be sent, in a ring */
    int *queue;
    uint8_t (*answers)[ANSWER];
};

static const char METHOD[] = "/raystack.raccoon.v1beta1.EventService/SendEvent";

static void add_head(Bytes *out, size_t length, int type, int flags, uint32_t stream) {
    uint8_t head[9] = {(uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length, (uint8_t)type, (uint8_t)flags,
                       (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8), (uint8_t)stream};
    bytes_add(out, head, 9);
}

static void add_u32(Bytes *out, uint32_t value) {
    uint8_t four[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    bytes_add(out, four, 4);
}

static uint32_t u32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void hello(Connection *connection, Bytes *out) {
    Http2 *http2 = connection->http2 = calloc(1, sizeof *http2);
    http2->window = http2->initial = 65535;
    http2->next_stream = 1;
    http2->queue = calloc((size_t)options.depth, sizeof *http2->queue);
    http2->answers = calloc((size_t)options.depth, ANSWER);
    bytes_text(out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    add_head(out, 12, SETTINGS, 0, 0);
    static const uint8_t settings[12] = {0, 2, 0, 0, 0, 0, /* no push */ 0, 4, 0x01, 0, 0, 0 /* window */};
    bytes_add(out, settings, 12);
    add_head(out, 4, WINDOW_UPDATE, 0, 0);
    add_u32(out, WINDOW);
}

static void add_string(Bytes *to, const char *text) {
    uint8_t length = (uint8_t)strlen(text); /* all of ours are shorter than 127 */
    bytes_add(to, &length, 1);
    bytes_text(to, text);
}

static void add_header(Bytes *to, int name_index, const char *name, const char *value) {
    uint8_t first = (uint8_t)(0x40 | name_index);
    bytes_add(to, &first, 1);
    if (!name_index) add_string(to, name);
    add_string(to, value);
}

static void add_headers(Connection *connection, Bytes *out, uint32_t stream) {
    static const uint8_t known[] = {0x83, 0x86, 0x80 | 67, 0x80 | 66, 0x80 | 65, 0x80 | 64, 0x80 | 63, 0x80 | 62};
    if (stream > 1) {
        add_head(out, sizeof known, HEADERS, END_HEADERS, stream);
        bytes_add(out, known, sizeof known);
        return;
    }
    Bytes block = {0};
    char authority[100], id[100], header[100];
    snprintf(authority, sizeof authority, "%s:%d", options.host, options.port);
    snprintf(id, sizeof id, "load-%08x-%u", options.salt, connection->index);
    snprintf(header, sizeof header, "%s", options.id_header);
    for (char *at = header; *at; at++)
        if (*at >= 'A' && *at <= 'Z') *at = (char)(*at + 32);
    bytes_add(&block, "\x83\x86", 2); /* POST, http */
    add_header(&block, 4, NULL, METHOD);
    add_header(&block, 1, NULL, authority);
    add_header(&block, 31, NULL, "application/grpc");
    add_header(&block, 0, "te", "trailers");
    add_header(&block, 58, NULL, "grpc-load/1");
    add_header(&block, 0, header, id);
    add_head(out, block.size, HEADERS, END_HEADERS, stream);
    bytes_add(out, block.data, block.size);
    free(block.data);
}

/* Send what there is of the queue and the windows let through. */
static void push(Connection *connection, Bytes *out) {
    static Bytes message;
    Http2 *http2 = connection->http2;
    size_t whole = body_size() + 5;
    while (http2->queued) {
        int slot = http2->queue[http2->first];
        Slot *of = &connection->slots[slot];
        if (!of->stream) {
            of->stream = http2->next_stream;
            of->said = 0;
            http2->next_stream += 2;
            http2->stream_window = http2->initial;
            http2->sent = 0;
            add_headers(connection, out, of->stream);
        }
        if (http2->window <= 0 || http2->stream_window <= 0) return;
        message.size = 0;
        uint8_t *bytes = bytes_more(&message, whole);
        bytes[0] = 0;
        for (int i = 0; i < 4; i++) bytes[1 + i] = (uint8_t)(body_size() >> (24 - 8 * i));
        body_write(bytes + 5, connection, slot);
        while (http2->sent < whole) {
            int64_t part = (int64_t)(whole - http2->sent);
            if (part > FRAME) part = FRAME;
            if (part > http2->window) part = http2->window;
            if (part > http2->stream_window) part = http2->stream_window;
            if (part <= 0) return;
            bool last = http2->sent + (size_t)part == whole;
            add_head(out, (size_t)part, DATA, last ? END_STREAM : 0, of->stream);
            bytes_add(out, bytes + http2->sent, (size_t)part);
            http2->sent += (size_t)part;
            http2->window -= part;
            http2->stream_window -= part;
        }
        http2->first = (http2->first + 1) % options.depth;
        http2->queued--;
    }
}

static void request(Connection *connection, int slot, Bytes *out) {
    Http2 *http2 = connection->http2;
    connection->slots[slot].stream = 0;
    http2->queue[(http2->first + http2->queued++) % options.depth] = slot;
    push(connection, out);
}

static int slot_of_stream(const Connection *connection, uint32_t stream) {
    for (int slot = 0; slot < options.depth; slot++)
        if (connection->slots[slot].seq && connection->slots[slot].stream == stream) return slot;
    return -1;
}

static bool being_sent(const Connection *connection, int slot) {
    const Http2 *http2 = connection->http2;
    return http2->queued && http2->queue[http2->first] == slot;
}

static void add_part(Connection *connection, uint32_t stream, const uint8_t *data, size_t size) {
    int slot = slot_of_stream(connection, stream);
    if (slot < 0) return;
    Slot *of = &connection->slots[slot];
    if (of->said + size > ANSWER) size = ANSWER - of->said;
    memcpy(connection->http2->answers[slot] + of->said, data, size);
    of->said = (uint16_t)(of->said + size);
}

static void ended(Connection *connection, uint32_t stream) {
    int slot = slot_of_stream(connection, stream), named;
    if (slot < 0) return;
    if (being_sent(connection, slot)) { /* answered before it was all sent: forget the rest */
        connection->http2->first = (connection->http2->first + 1) % options.depth;
        connection->http2->queued--;
    }
    const uint8_t *said = connection->http2->answers[slot];
    size_t size = connection->slots[slot].said;
    if (size < 5 || said[0] || u32(said + 1) != size - 5) {
        answered(connection, slot, WRONG, (const uint8_t *)"the call failed", 15);
        return;
    }
    Verdict verdict = body_judge(connection, said + 5, size - 5, &named);
    if (verdict == GOOD && named != slot && !options.constant) verdict = WRONG;
    answered(connection, slot, verdict, said + 5, size - 5);
}

static void take_settings(Http2 *http2, const uint8_t *data, size_t size) {
    for (size_t i = 0; i + 6 <= size; i += 6) {
        if (data[i] == 0 && data[i + 1] == 4) {
            int64_t initial = u32(data + i + 2);
            http2->stream_window += initial - http2->initial;
            http2->initial = initial;
        }
    }
}

static bool take_frame(Connection *connection, int type, int flags, uint32_t stream, const uint8_t *data, size_t size,
                       Bytes *out) {
    Http2 *http2 = connection->http2;
    int slot;
    switch (type) {
    case DATA:
        http2->received += (int64_t)size;
        if (http2->received > WINDOW / 2) {
            add_head(out, 4, WINDOW_UPDATE, 0, 0);
            add_u32(out, (uint32_t)http2->received);
            http2->received = 0;
        }
        if (flags & PADDED) {
            if (!size || data[0] >= size) return false;
            size -= (size_t)data[0] + 1;
            data++;
        }
        add_part(connection, stream, data, size);
        if (flags & END_STREAM) ended(connection, stream);
        return true;
    case HEADERS:
        if (flags & END_STREAM) ended(connection, stream);
        return true;
    case RST_STREAM:
        ended(connection, stream); /* after END_STREAM it is nobody's */
        return true;
    case SETTINGS:
        if (flags & ACK) return true;
        take_settings(http2, data, size);
        add_head(out, 0, SETTINGS, ACK, 0);
        if (!connection->open) opened(connection);
        push(connection, out);
        return true;
    case PING:
        if (flags & ACK) return true;
        add_head(out, size, PING, ACK, 0);
        bytes_add(out, data, size);
        return true;
    case WINDOW_UPDATE:
        if (size < 4) return false;
        if (!stream) {
            http2->window += u32(data);
        } else if ((slot = slot_of_stream(connection, stream)) >= 0 && being_sent(connection, slot)) {
            http2->stream_window += u32(data);
        }
        push(connection, out);
        return true;
    case GOAWAY:
        fprintf(stderr, "load: GOAWAY: %.*s\n", size > 8 ? (int)size - 8 : 0, data + 8);
        return false;
    default:
        return true;
    }
}

static long take(Connection *connection, const uint8_t *data, size_t size, Bytes *out) {
    size_t at = 0;
    while (size - at >= 9) {
        const uint8_t *head = data + at;
        size_t length = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
        if (size - at - 9 < length) break;
        if (!take_frame(connection, head[3], head[4], u32(head + 5) & 0x7fffffff, head + 9, length, out)) return -1;
        at += 9 + length;
    }
    return (long)at;
}

const Transport grpc = {hello, request, take};
