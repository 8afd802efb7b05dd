/* WebSocket (RFC 6455), the client's side. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>

static void hello(Connection *connection, Bytes *out) {
    char text[512];
    snprintf(text, sizeof text,
             "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Key: cmFjY29vbiBiZW5jaG1hcg==\r\nSec-WebSocket-Version: 13\r\n%s: load-%08x-%u\r\n\r\n",
             options.path, options.host, options.port, options.id_header, options.salt, connection->index);
    bytes_text(out, text);
}

static void add_frame(Bytes *out, int opcode, size_t size, uint8_t **payload, uint8_t mask[4]) {
    static uint32_t random = 88172645u;
    uint8_t head[14] = {(uint8_t)(0x80 | opcode)};
    size_t length = 2;
    if (size < 126) {
        head[1] = (uint8_t)(0x80 | size);
    } else if (size < 65536) {
        head[1] = 0x80 | 126, head[2] = (uint8_t)(size >> 8), head[3] = (uint8_t)size;
        length = 4;
    } else {
        head[1] = 0x80 | 127;
        for (int i = 0; i < 8; i++) head[2 + i] = (uint8_t)((uint64_t)size >> (56 - 8 * i));
        length = 10;
    }
    random ^= random << 13, random ^= random >> 17, random ^= random << 5;
    memcpy(mask, &random, 4);
    memcpy(head + length, mask, 4);
    bytes_add(out, head, length + 4);
    *payload = bytes_more(out, size);
}

static void apply_mask(uint8_t *data, size_t size, const uint8_t mask[4]) {
    uint64_t eight;
    memcpy(&eight, mask, 4);
    memcpy((uint8_t *)&eight + 4, mask, 4);
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        word ^= eight;
        memcpy(data + i, &word, 8);
    }
    for (; i < size; i++) data[i] ^= mask[i & 3];
}

static void request(Connection *connection, int slot, Bytes *out) {
    uint8_t *payload, mask[4];
    add_frame(out, options.json ? 1 : 2, body_size(), &payload, mask);
    body_write(payload, connection, slot);
    apply_mask(payload, body_size(), mask);
}

static long take_handshake(Connection *connection, const uint8_t *data, size_t size) {
    const uint8_t *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end) return 0;
    if (memcmp(data, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "load: the upgrade was refused: %.*s\n", (int)(size < 300 ? size : 300), data);
        return -1;
    }
    opened(connection);
    return end - data + 4;
}

static long take(Connection *connection, const uint8_t *data, size_t size, Bytes *out) {
    size_t at = 0;
    if (!connection->open) {
        long taken = take_handshake(connection, data, size);
        if (taken <= 0) return taken;
        at = (size_t)taken;
    }
    while (size - at >= 2) {
        const uint8_t *frame = data + at;
        size_t length = frame[1] & 0x7f, head = 2;
        if (frame[1] & 0x80) return -1;
        if (length == 126) head = 4;
        if (length == 127) head = 10;
        if (size - at < head) break;
        if (head > 2) {
            length = 0;
            for (size_t i = 2; i < head; i++) length = length << 8 | frame[i];
        }
        if (size - at - head < length) break;
        const uint8_t *payload = frame + head;
        switch (frame[0]) {
        case 0x81:
        case 0x82: {
            int slot;
            Verdict verdict = body_judge(connection, payload, length, &slot);
            if ((frame[0] == 0x81) != options.json) verdict = WRONG;
            answered(connection, slot, verdict, payload, length);
            break;
        }
        case 0x89: {
            uint8_t *pong, mask[4];
            add_frame(out, 10, length, &pong, mask);
            memcpy(pong, payload, length);
            apply_mask(pong, length, mask);
            pinged();
            break;
        }
        case 0x8a:
            break;
        case 0x88:
            fprintf(stderr, "load: the server closed a WebSocket: %.*s\n", length > 2 ? (int)length - 2 : 0, payload + 2);
            return -1;
        default:
            return -1;
        }
        at += head + length;
    }
    return (long)at;
}

const Transport websocket = {hello, request, take};
