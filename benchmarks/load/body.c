/* Batches and answers, in protobuf and JSON. A guid says which request of which connection it belongs to. */
#define _GNU_SOURCE
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static Bytes body;
static size_t guid_at;

static void add_varint(Bytes *to, uint64_t value) {
    uint8_t byte;
    for (; value >= 0x80; value >>= 7) {
        byte = (uint8_t)(value | 0x80);
        bytes_add(to, &byte, 1);
    }
    byte = (uint8_t)value;
    bytes_add(to, &byte, 1);
}

static void add_field(Bytes *to, int number, const void *data, size_t size) {
    add_varint(to, (uint64_t)number << 3 | 2);
    add_varint(to, size);
    bytes_add(to, data, size);
}

static void add_base64(Bytes *to, const uint8_t *data, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t three = (uint32_t)data[i] << 16;
        three |= i + 1 < size ? (uint32_t)data[i + 1] << 8 : 0;
        three |= i + 2 < size ? data[i + 2] : 0;
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63], digits[three >> 6 & 63], digits[three & 63]};
        if (i + 2 >= size) four[3] = '=';
        if (i + 1 >= size) four[2] = '=';
        bytes_add(to, four, 4);
    }
}

void body_make(void) {
    uint8_t *event = malloc((size_t)options.size + 1);
    uint32_t random = 2463534242u;
    char place[GUID];
    memset(place, '0', GUID);
    if (options.json) {
        bytes_text(&body, "{\"req_guid\":\"");
        guid_at = body.size;
        bytes_add(&body, place, GUID);
        char sent[64];
        snprintf(sent, sizeof sent, "\",\"sent_time\":{\"seconds\":%ld,\"nanos\":0},\"events\":[", (long)time(NULL));
        bytes_text(&body, sent);
    } else {
        add_varint(&body, 1 << 3 | 2);
        add_varint(&body, GUID);
        guid_at = body.size;
        bytes_add(&body, place, GUID);
        Bytes sent = {0};
        add_varint(&sent, 1 << 3);
        add_varint(&sent, (uint64_t)time(NULL));
        add_field(&body, 2, sent.data, sent.size);
    }
    for (int i = 0; i < options.batch; i++) {
        for (int j = 0; j < options.size; j++) {
            random ^= random << 13, random ^= random >> 17, random ^= random << 5;
            event[j] = (uint8_t)(random >> 16);
        }
        if (options.json) {
            bytes_text(&body, i ? ",{\"event_bytes\":\"" : "{\"event_bytes\":\"");
            add_base64(&body, event, (size_t)options.size);
            bytes_text(&body, "\",\"type\":\"");
            bytes_text(&body, options.type);
            bytes_text(&body, "\"}");
        } else {
            Bytes one = {0};
            add_field(&one, 1, event, (size_t)options.size);
            add_field(&one, 2, options.type, strlen(options.type));
            add_field(&body, 3, one.data, one.size);
            free(one.data);
        }
    }
    if (options.json) bytes_text(&body, "]}");
    free(event);
}

size_t body_size(void) { return body.size; }

/* Salt, connection, slot and number: 8, 8, 4 and 12 hexadecimal digits with the dashes of a UUID. */
static void write_guid(uint8_t *to, const Connection *connection, int slot) {
    static const char digits[] = "0123456789abcdef";
    uint64_t high = (uint64_t)options.salt << 32 | connection->index;
    uint64_t low = (uint64_t)slot << 48 | (connection->slots[slot].seq & 0xffffffffffff);
    for (int i = 0, digit = 0; i < GUID; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            to[i] = '-';
            continue;
        }
        uint64_t half = digit < 16 ? high : low;
        to[i] = (uint8_t)digits[half >> (60 - 4 * (digit & 15)) & 15];
        digit++;
    }
}

void body_write(uint8_t *to, const Connection *connection, int slot) {
    memcpy(to, body.data, body.size);
    write_guid(to + guid_at, connection, slot);
}

/* The slot that a guid names, if exactly this guid is on its way; or -1. */
static int slot_of(const Connection *connection, const uint8_t *guid, size_t size) {
    if (size != GUID) return -1;
    int slot = 0;
    for (int i = 19; i < 23; i++) {
        int digit = guid[i] >= 'a' ? guid[i] - 'a' + 10 : guid[i] - '0';
        if (digit < 0 || digit > 15) return -1;
        slot = slot << 4 | digit;
    }
    if (slot >= options.depth || !connection->slots[slot].seq) return -1;
    uint8_t expected[GUID];
    write_guid(expected, connection, slot);
    return memcmp(expected, guid, GUID) ? -1 : slot;
}

static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *value) {
    *value = 0;
    for (int shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t byte = *(*at)++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

/* One field of a message: number, and its value or its bytes. Only what occurs in an answer is understood. */
static bool read_field(const uint8_t **at, const uint8_t *end, int *number, uint64_t *value, const uint8_t **data) {
    uint64_t tag;
    if (!read_varint(at, end, &tag) || !read_varint(at, end, value)) return false;
    *number = (int)(tag >> 3);
    *data = NULL;
    if ((tag & 7) == 0) return true;
    if ((tag & 7) != 2 || *value > (uint64_t)(end - *at)) return false;
    *data = *at;
    *at += *value;
    return true;
}

static bool read_protobuf(const uint8_t *at, size_t size, int *status, int *code, const uint8_t **guid, size_t *length) {
    const uint8_t *end = at + size, *data, *text;
    uint64_t value, length_of;
    int number;
    while (at < end) {
        if (!read_field(&at, end, &number, &value, &data)) return false;
        if (number == 1) *status = (int)value;
        if (number == 2) *code = (int)value;
        if (number != 5 || !data) continue;
        const uint8_t *entry = data, *entry_end = data + value;
        bool named = false;
        while (entry < entry_end) {
            if (!read_field(&entry, entry_end, &number, &length_of, &text) || !text) return false;
            if (number == 1) named = length_of == 8 && !memcmp(text, "req_guid", 8);
            if (number == 2 && named) *guid = text, *length = length_of;
        }
    }
    return true;
}

static const uint8_t *after(const uint8_t *data, size_t size, const char *key) {
    const uint8_t *found = memmem(data, size, key, strlen(key));
    return found ? found + strlen(key) : NULL;
}

static bool read_json(const uint8_t *data, size_t size, int *status, int *code, const uint8_t **guid, size_t *length) {
    const uint8_t *end = data + size, *at;
    if (size < 2 || data[0] != '{') return false;
    if (!(at = after(data, size, "\"status\":")) || at >= end) return false;
    *status = *at - '0';
    if (!(at = after(data, size, "\"code\":")) || at >= end) return false;
    *code = *at - '0';
    if ((at = after(data, size, "\"req_guid\":\""))) {
        const uint8_t *quote = memchr(at, '"', (size_t)(end - at));
        if (!quote) return false;
        *guid = at, *length = (size_t)(quote - at);
    }
    return true;
}

Verdict body_judge(const Connection *connection, const uint8_t *data, size_t size, int *slot) {
    int status = 0, code = 0;
    const uint8_t *guid = NULL;
    size_t length = 0;
    bool read = (options.json ? read_json : read_protobuf)(data, size, &status, &code, &guid, &length);
    *slot = guid ? slot_of(connection, guid, length) : -1;
    if (!read) return WRONG;
    if (status != 1 || code != 1) return REFUSED;
    return *slot < 0 && !options.constant ? WRONG : GOOD;
}
