/* A name server that derives each answer from the name in the query.
 *
 * UDP, one thread, no zone data. The second label from the right selects the answer:
 *
 *     none    no such name                           fail    SERVFAIL
 *     quiet   no answer                              hole    a Policy Host that drops every SYN
 *     stall   a Policy Host that accepts a           any     TXT, A, and no AAAA
 *             connection and sends nothing
 *
 * Only the root has the AD bit, as from a validating resolver; there are no MX records.
 *
 *     dns ADDRESS PORT POLICY_HOST HOLE STALL     the last three are the IPv4 addresses in answers
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 12, TYPE_A = 1, TYPE_SOA = 6, TYPE_TXT = 16, AD = 0x20 };
enum { NXDOMAIN = 3, SERVFAIL = 2 };
enum { TTL = 3600 };
enum { BATCH = 64, MAX_WIRE = 512, MAX_LABELS = 32, BUFFER = 1 << 22 };

static const char record[] = "v=STSv1; id=20260101;";
static struct in_addr policy_host, hole, stall;

/* A question: its labels from the left, its end, and its type. */
struct question {
    const char *labels[MAX_LABELS];
    size_t sizes[MAX_LABELS];
    int count;
    size_t end;
    int type;
};

static bool parse(const uint8_t *wire, size_t size, struct question *question)
{
    size_t at = HEADER;
    question->count = 0;
    while (at < size && wire[at]) {
        if (wire[at] > 63 || at + wire[at] + 1u >= size || question->count == MAX_LABELS)
            return false;
        question->labels[question->count] = (const char *)wire + at + 1;
        question->sizes[question->count++] = wire[at];
        at += wire[at] + 1u;
    }
    if (at + 5 > size)
        return false;
    question->type = wire[at + 1] << 8 | wire[at + 2];
    question->end = at + 5;
    return question->count >= 2 || (question->count == 0 && question->type == TYPE_SOA);
}

static bool is(const struct question *question, int label, const char *text)
{
    int at = label < 0 ? question->count + label : label;
    return at >= 0 && question->sizes[at] == strlen(text) &&
           !strncasecmp(question->labels[at], text, question->sizes[at]);
}

static size_t put_record(uint8_t *at, int type, const void *data, size_t size)
{
    /* The name is a pointer to the question (RFC 1035 section 4.1.4). */
    uint8_t head[] = {0xc0, HEADER, 0, (uint8_t)type, 0, 1, 0, 0, TTL >> 8, TTL & 255, 0,
                      (uint8_t)size};
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, data, size);
    return sizeof head + size;
}

static size_t put_soa(uint8_t *at)
{
    /* The names are the root. Of the numbers only the minimum matters (RFC 2308). */
    uint8_t data[22] = {0};
    data[20] = TTL >> 8;
    data[21] = TTL & 255;
    return put_record(at, 6, data, sizeof data);
}

/* Write the answer over the query; return its size, or 0 for no answer. */
static size_t answer(uint8_t *wire, size_t size)
{
    struct question question;
    if (size < HEADER || !parse(wire, size, &question) || is(&question, -2, "quiet"))
        return 0;
    bool absent = is(&question, -2, "none"), failing = is(&question, -2, "fail");
    uint8_t *at = wire + question.end;
    wire[2] = 0x84 | (wire[2] & 1); /* a response, authoritative, RD copied */
    wire[3] = 0x80 | (absent ? NXDOMAIN : failing ? SERVFAIL : 0);
    memset(wire + 6, 0, 6); /* no EDNS */
    if (failing)
        return question.end;
    if (!question.count) { /* the daemon takes this for a validating resolver */
        wire[3] |= AD;
        wire[7] = 1;
        return question.end + put_soa(at);
    }
    if (!absent && question.type == TYPE_TXT && is(&question, 0, "_mta-sts")) {
        uint8_t text[sizeof record];
        text[0] = sizeof record - 1;
        memcpy(text + 1, record, sizeof record - 1);
        wire[7] = 1;
        return question.end + put_record(at, TYPE_TXT, text, sizeof record);
    }
    if (!absent && question.type == TYPE_A && is(&question, 0, "mta-sts")) {
        struct in_addr *to = is(&question, -2, "hole")    ? &hole
                             : is(&question, -2, "stall") ? &stall
                                                          : &policy_host;
        wire[7] = 1;
        return question.end + put_record(at, TYPE_A, to, sizeof *to);
    }
    wire[9] = 1;
    return question.end + put_soa(at);
}

static int bind_to(const char *address, const char *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = BUFFER;
    if (!inet_aton(address, &at.sin_addr) || fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room) ||
        bind(fd, (struct sockaddr *)&at, sizeof at)) {
        perror("bind");
        exit(1);
    }
    return fd;
}

int main(int argc, char **argv)
{
    if (argc != 6 || !inet_aton(argv[3], &policy_host) || !inet_aton(argv[4], &hole) ||
        !inet_aton(argv[5], &stall)) {
        fprintf(stderr, "usage: dns ADDRESS PORT POLICY_HOST HOLE STALL\n");
        return 2;
    }
    static uint8_t wires[BATCH][MAX_WIRE];
    static struct sockaddr_in peers[BATCH];
    static struct iovec blocks[BATCH];
    static struct mmsghdr in[BATCH], out[BATCH];
    int fd = bind_to(argv[1], argv[2]);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            /* The second half of the buffer is for the answer. */
            blocks[i] = (struct iovec){wires[i], MAX_WIRE / 2};
            in[i].msg_hdr = (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof peers[i],
                                            .msg_iov = &blocks[i], .msg_iovlen = 1};
        }
        int got = recvmmsg(fd, in, BATCH, MSG_WAITFORONE, NULL), ready = 0;
        for (int i = 0; i < got; i++)
            if ((blocks[i].iov_len = answer(wires[i], in[i].msg_len)))
                out[ready++] = in[i];
        for (int sent = 0; sent < ready;) {
            int more = sendmmsg(fd, out + sent, (unsigned)(ready - sent), 0);
            sent += more > 0 ? more : 1; /* skip a client that is gone */
        }
    }
}
