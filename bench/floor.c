/* The least that any server must do: find the end of each request and write a prepared reply.
 *
 * One thread, epoll, socketmap over TCP and UNIX. It looks at no key and stores no policy: what a
 * real server costs beyond this is the cost of its answers.
 *
 *     floor PORT PATH REPLY     REPLY is the text, which is sent as a netstring
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { BLOCK = 65536, EVENTS = 256, BACKLOG = 1024, MAX_REPLY = 512 };

/* A connection and its position within a netstring. */
struct client {
    int fd;
    size_t length; /* from the digits read so far */
    size_t left;   /* bytes to skip, including the comma; 0: reading digits */
};

static char reply[MAX_REPLY];
static size_t reply_size;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_on(int family, const struct sockaddr *address, socklen_t size)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(fd, address, size) || listen(fd, BACKLOG))
        die("listen");
    return fd;
}

static int listen_on_tcp(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return listen_on(AF_INET, (struct sockaddr *)&at, sizeof at);
}

static int listen_on_unix(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    unlink(path);
    return listen_on(AF_UNIX, (struct sockaddr *)&at, sizeof at);
}

static void watch(int epoll, struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event))
        die("epoll_ctl");
}

static struct client *make_client(int fd)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        die("calloc");
    client->fd = fd;
    return client;
}

static void accept_clients(int epoll, int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on UNIX, harmless */
        watch(epoll, make_client(fd));
    }
}

/* The number of requests that end in this block; -1 if it does not consist of netstrings. */
static int requests(struct client *client, const char *block, size_t size)
{
    int ended = 0;
    for (size_t at = 0; at < size;) {
        if (client->left) {
            size_t skip = client->left < size - at ? client->left : size - at;
            at += skip;
            client->left -= skip;
            ended += client->left == 0;
        } else if (block[at] == ':') {
            client->left = client->length + 1;
            client->length = 0;
            at++;
        } else if (block[at] >= '0' && block[at] <= '9') {
            client->length = client->length * 10 + (size_t)(block[at++] - '0');
        } else {
            return -1;
        }
    }
    return ended;
}

static void serve(struct client *client)
{
    static char block[BLOCK];
    ssize_t size = read(client->fd, block, sizeof block);
    if (size < 0 && errno == EAGAIN)
        return;
    int ended = size > 0 ? requests(client, block, (size_t)size) : -1;
    for (int left = ended; left > 0; left--)
        if (write(client->fd, reply, reply_size) != (ssize_t)reply_size)
            ended = -1; /* a client that does not read is closed: enough for the load generator */
    if (ended < 0) {
        close(client->fd);
        free(client);
    }
}

static void make_reply(const char *text)
{
    int size = snprintf(reply, sizeof reply, "%zu:%s,", strlen(text), text);
    if (size < 0 || (size_t)size >= sizeof reply)
        die("reply too long");
    reply_size = (size_t)size;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: floor PORT PATH REPLY\n");
        return 2;
    }
    make_reply(argv[3]);
    int epoll = epoll_create1(0);
    struct client *tcp = make_client(listen_on_tcp(atoi(argv[1])));
    struct client *local = make_client(listen_on_unix(argv[2]));
    watch(epoll, tcp);
    watch(epoll, local);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (client == tcp || client == local)
                accept_clients(epoll, client->fd);
            else
                serve(client);
        }
    }
}
