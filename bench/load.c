/* Load generator: N connections, one request in flight on each, as Postfix does it.
 *
 * One thread, epoll, socketmap or tcp_table over TCP or UNIX. It counts and times the replies and
 * prints one JSON object; it judges them only by -a. Latencies are stored in a histogram whose steps
 * are below 1 %.
 *
 *     load [OPTION VALUE]... ADDRESS     ADDRESS: tcp:PORT of 127.0.0.1, or unix:PATH
 *
 *     -w wire        socketmap (default) or tcp_table
 *     -c clients     connections (50)
 *     -k key         '%' in it is replaced by a number
 *     -f first       the lowest number (0)
 *     -m numbers     how many numbers; each request takes one at random; 0: each number once, in
 *                    order (0)
 *     -n count       requests in total (as many as time allows)
 *     -t seconds     time during which requests are sent (10); replies that are outstanding then
 *                    are awaited for 5 more seconds
 *     -r rate        requests per second in total, evenly spaced, each timed from when it was
 *                    due (0: the next request follows the reply)
 *     -a answer      what each reply must be, byte for byte; each '%' in it is the number of the
 *                    key; another reply is counted as wrong, too
 *
 * Without -r a client sends its next request as soon as it receives a reply.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MAX_KEY = 256, MAX_REQUEST = MAX_KEY + 32, MAX_IN = 65536, EVENTS = 256 };
enum { DIGITS = 20, MAX_ANSWER = 1024 };
enum { TIMEOUT = 5 };
enum { STEPS_BITS = 8, STEPS = 1 << STEPS_BITS, OCTAVES = 40 };

static const uint64_t SECOND = 1000000000u;

struct client {
    int fd;
    bool waiting;  /* for a reply */
    uint64_t sent; /* when its request was sent or due */
    uint64_t number; /* in its key */
    char out[MAX_REQUEST];
    size_t out_size;
    size_t got;
    char *in;
};

static bool tcp_table;
static unsigned clients_count = 50;
static const char *key = "example.test", *answer;
static uint64_t first, numbers, count_limit = UINT64_MAX, rate;
static double seconds = 10;
static uint64_t last; /* no request is sent from this time on */

static uint64_t sent_count, found, absent, errors, lost, wrong;
static uint64_t histogram[OCTAVES * STEPS], longest;
static struct client *clients;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

/* Latencies: exact below STEPS, then STEPS / 2 steps for each octave. */

static unsigned step_of(uint64_t ns)
{
    if (ns < STEPS)
        return (unsigned)ns;
    unsigned octave = 64u - STEPS_BITS - (unsigned)__builtin_clzll(ns);
    unsigned step = octave * STEPS + (unsigned)(ns >> octave);
    return step < OCTAVES * STEPS ? step : OCTAVES * STEPS - 1;
}

static double value_of(unsigned step)
{
    return (double)((uint64_t)(step % STEPS) << (step / STEPS));
}

static void note(uint64_t ns)
{
    histogram[step_of(ns)]++;
    if (ns > longest)
        longest = ns;
}

static double microseconds_at(double share)
{
    uint64_t rank = (uint64_t)(share * (double)(found + absent + errors)), seen = 0;
    for (unsigned step = 0; step < OCTAVES * STEPS; step++)
        if ((seen += histogram[step]) > rank)
            return value_of(step) / 1000;
    return 0;
}

/* Requests */

static uint64_t next_number(void)
{
    static uint64_t seed = 88172645463325252u; /* xorshift64: the same sequence every time */
    if (!numbers)
        return first + sent_count;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return first + seed % numbers;
}

/* Write a text with a number in place of each '%'. */
static size_t put_text(char *to, const char *text, uint64_t number)
{
    char digits[DIGITS + 1], *at = to;
    size_t size = (size_t)sprintf(digits, "%lu", number);
    for (const char *hole; (hole = strchr(text, '%')); text = hole + 1)
        at = mempcpy(mempcpy(at, text, (size_t)(hole - text)), digits, size);
    return (size_t)(stpcpy(at, text) - to);
}

/* Whether there is room for a text with any number. */
static bool fits(const char *text, size_t room)
{
    size_t size = strlen(text) + 1;
    for (const char *hole = text; (hole = strchr(hole, '%')); hole++)
        size += DIGITS;
    return size <= room;
}

static size_t put_request(char *to, uint64_t number)
{
    char name[MAX_KEY];
    size_t size = put_text(name, key, number);
    char *at = to;
    if (tcp_table) {
        at = mempcpy(mempcpy(at, "get ", 4), name, size);
        *at++ = '\n';
    } else {
        at += sprintf(at, "%zu:postfix ", size + 8);
        at = mempcpy(at, name, size);
        *at++ = ',';
    }
    return (size_t)(at - to);
}

static void drop(struct client *client)
{
    lost += client->waiting;
    errors += !client->waiting;
    close(client->fd);
    client->fd = -1;
    client->waiting = true; /* so that no more requests are sent here */
}

static void watch(int epoll, int how, struct client *client, bool writable)
{
    struct epoll_event event = {.events = EPOLLIN | (writable ? EPOLLOUT : 0u),
                                .data.ptr = client};
    if (epoll_ctl(epoll, how, client->fd, &event))
        die("epoll_ctl");
}

static void flush(int epoll, struct client *client)
{
    if (client->fd < 0 || !client->out_size)
        return;
    ssize_t size = write(client->fd, client->out, client->out_size);
    if (size < 0 && errno != EAGAIN) {
        drop(client);
        return;
    }
    if (size < 0)
        size = 0;
    bool was_full = (size_t)size < client->out_size;
    client->out_size -= (size_t)size;
    memmove(client->out, client->out + size, client->out_size);
    if (was_full)
        watch(epoll, EPOLL_CTL_MOD, client, true);
}

static bool send_request(struct client *client, uint64_t at)
{
    if (sent_count >= count_limit || at >= last || client->waiting)
        return false;
    client->waiting = true;
    client->sent = at;
    client->number = next_number();
    client->out_size += put_request(client->out + client->out_size, client->number);
    sent_count++;
    return true;
}

/* Replies */

/* The size of the first reply with its frame; 0: incomplete; -1: not a netstring. */
static ssize_t reply_size(const char *in, size_t got, const char **text)
{
    if (tcp_table) {
        const char *end = memchr(in, '\n', got);
        *text = in;
        return end ? end - in + 1 : 0;
    }
    size_t length = 0, at = 0;
    for (; at < got && in[at] >= '0' && in[at] <= '9'; at++)
        length = length * 10 + (size_t)(in[at] - '0');
    if (at < got && (in[at] != ':' || length > MAX_IN / 2))
        return -1;
    *text = in + at + 1;
    size_t all = at + 1 + length + 1;
    return all <= got ? (ssize_t)all : 0;
}

static bool is_wrong(const char *text, size_t size, uint64_t number)
{
    char right[MAX_ANSWER];
    return answer && (put_text(right, answer, number) != size || memcmp(text, right, size));
}

static void count_reply(const char *text)
{
    if (!strncmp(text, tcp_table ? "200 " : "OK ", tcp_table ? 4 : 3))
        found++;
    else if (!strncmp(text, tcp_table ? "500 " : "NOTFOUND ", tcp_table ? 4 : 9))
        absent++;
    else
        errors++;
}

static void take_replies(struct client *client)
{
    size_t at = 0;
    const char *text;
    ssize_t size;
    uint64_t came = now();
    while ((size = reply_size(client->in + at, client->got - at, &text)) > 0) {
        if (!client->waiting) {
            drop(client);
            return;
        }
        count_reply(text);
        const char *end = client->in + at + size - 1; /* where the frame goes on */
        wrong += is_wrong(text, (size_t)(end - text), client->number);
        note(came - client->sent);
        client->waiting = false;
        at += (size_t)size;
    }
    client->got -= at;
    memmove(client->in, client->in + at, client->got);
    if (size < 0)
        drop(client);
}

static void receive(int epoll, struct client *client)
{
    ssize_t size = read(client->fd, client->in + client->got, MAX_IN - client->got);
    if (size <= 0) {
        if (size == 0 || errno != EAGAIN)
            drop(client);
        return;
    }
    client->got += (size_t)size;
    take_replies(client);
    if (rate || client->fd < 0)
        return;
    send_request(client, now());
    flush(epoll, client);
}

/* The run */

static int connect_to(const char *address)
{
    int fd, on = 1;
    if (!strncmp(address, "unix:", 5)) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        snprintf(at.sun_path, sizeof at.sun_path, "%s", address + 5);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at))
            die(address);
    } else {
        struct sockaddr_in at = {.sin_family = AF_INET,
                                 .sin_port = htons((uint16_t)atoi(address + 4))};
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        fd = socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) ||
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on))
            die(address);
    }
    return fd;
}

static void connect_all(int epoll, const char *address)
{
    clients = calloc(clients_count, sizeof *clients);
    for (unsigned i = 0; clients && i < clients_count; i++) {
        struct client *client = &clients[i];
        client->fd = connect_to(address);
        client->in = malloc(MAX_IN);
        if (!client->in)
            die("malloc");
        watch(epoll, EPOLL_CTL_ADD, client, false);
    }
}

/* Send the requests that are due, from clients that are free; false if too few are free. */
static bool send_due(int epoll, uint64_t *due)
{
    static unsigned turn;
    uint64_t at = now();
    unsigned busy = 0;
    for (; *due <= at && busy < clients_count; turn++) {
        struct client *client = &clients[turn % clients_count];
        if (!send_request(client, *due)) {
            busy++;
            continue;
        }
        busy = 0;
        *due += SECOND / rate;
        flush(epoll, client);
    }
    return busy < clients_count;
}

static bool is_over(uint64_t end)
{
    uint64_t done = found + absent + errors + lost, at = now();
    return done >= count_limit || at >= end || (at >= last && done >= sent_count);
}

/* Nanoseconds until something else than a reply needs attention; `due` is the next request. */
static uint64_t time_left(uint64_t due, uint64_t end)
{
    uint64_t at = now(), until = at < last ? last : end;
    if (due < until && sent_count < count_limit)
        until = due;
    return until > at ? until - at : 0;
}

static void run(int epoll, uint64_t start)
{
    last = start + (uint64_t)(seconds * 1e9);
    uint64_t end = last + TIMEOUT * SECOND, due = start;
    for (unsigned i = 0; i < clients_count && !rate; i++) {
        send_request(&clients[i], start);
        flush(epoll, &clients[i]);
    }
    while (!is_over(end)) {
        bool free = rate && send_due(epoll, &due);
        uint64_t left = time_left(free ? due : UINT64_MAX, end);
        struct timespec wait = {.tv_sec = (time_t)(left / SECOND),
                                .tv_nsec = (long)(left % SECOND)};
        struct epoll_event events[EVENTS];
        int ready = epoll_pwait2(epoll, events, EVENTS, &wait, NULL);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (client->fd >= 0 && events[i].events & EPOLLOUT) {
                watch(epoll, EPOLL_CTL_MOD, client, false);
                flush(epoll, client);
            }
            if (client->fd >= 0 && events[i].events & ~(unsigned)EPOLLOUT)
                receive(epoll, client);
        }
    }
}

static void report(double took)
{
    printf("{\"count\": %lu, \"found\": %lu, \"absent\": %lu, \"errors\": %lu, "
           "\"unanswered\": %lu, \"wrong\": %lu, \"seconds\": %.6f, \"p50\": %.1f, \"p99\": %.1f, \"max\": %.1f}\n",
           found + absent + errors, found, absent, errors,
           sent_count - found - absent - errors, wrong, took,
           microseconds_at(0.5), microseconds_at(0.99), (double)longest / 1000);
}

static void set(char option, const char *value)
{
    switch (option) {
    case 'w': tcp_table = !strcmp(value, "tcp_table"); break;
    case 'c': clients_count = (unsigned)atoi(value); break;
    case 'k': key = value; break;
    case 'a': answer = value; break;
    case 'f': first = strtoull(value, NULL, 10); break;
    case 'm': numbers = strtoull(value, NULL, 10); break;
    case 'n': count_limit = strtoull(value, NULL, 10); break;
    case 't': seconds = atof(value); break;
    case 'r': rate = strtoull(value, NULL, 10); break;
    default: exit(2);
    }
}

int main(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "w:c:k:f:m:n:t:r:a:")) >= 0;)
        set((char)option, optarg);
    bool fit = fits(key, MAX_KEY) && (!answer || fits(answer, MAX_ANSWER));
    if (optind + 1 != argc || !clients_count || !fit) {
        fprintf(stderr, "usage: load [OPTION VALUE]... tcp:PORT|unix:PATH\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int epoll = epoll_create1(0);
    connect_all(epoll, argv[optind]);
    uint64_t start = now();
    run(epoll, start);
    report((double)(now() - start) / 1e9);
    return 0;
}
