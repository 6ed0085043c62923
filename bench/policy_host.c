/* A Policy Host for every name: it signs a certificate for the name that the client sends.
 *
 * One thread, epoll, OpenSSL. TLS 1.2 and 1.3, ECDSA P-256, no session is resumed; each connection
 * gets one response. Three addresses, port 443:
 *
 *     ADDRESS   serves a policy; in the zone `wrong` the certificate is for another name, in the
 *               zone `gone` the response is 404
 *     HOLE      drops every SYN: its queue of connections is full, and nothing accepts them
 *     STALL     accepts connections and sends nothing
 *
 *     policy_host CA_FILE ADDRESS HOLE STALL     CA_FILE is written when all three are ready
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 443, BACKLOG = 4096, EVENTS = 256, MAX_TEXT = 2048, DAY = 86400 };

struct client {
    int fd;
    SSL *tls; /* NULL: a connection to STALL, or a listener */
    bool answered;
    size_t got;
    char text[MAX_TEXT];
};

static EVP_PKEY *ca_key, *leaf_key;
static X509 *ca;

static void die(const char *what)
{
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void extend(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, ca ? ca : certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (!extension || !X509_add_ext(certificate, extension, -1))
        die("extension");
    X509_EXTENSION_free(extension);
}

static X509 *unsigned_certificate(EVP_PKEY *key, const char *name)
{
    static long serial = 1;
    X509 *certificate = X509_new();
    if (!certificate)
        die("X509_new");
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -DAY);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 30L * DAY);
    X509_set_pubkey(certificate, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)name, -1, -1, 0);
    return certificate;
}

static void make_authority(void)
{
    ca_key = EVP_EC_gen("P-256");
    leaf_key = EVP_EC_gen("P-256");
    X509 *certificate = unsigned_certificate(ca_key, "Bench CA");
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    extend(certificate, NID_basic_constraints, "critical,CA:TRUE");
    extend(certificate, NID_key_usage, "critical,keyCertSign,cRLSign");
    extend(certificate, NID_subject_key_identifier, "hash");
    if (!X509_sign(certificate, ca_key, EVP_sha256()))
        die("X509_sign");
    ca = certificate;
}

static X509 *certificate_for(const char *host)
{
    char names[MAX_TEXT];
    snprintf(names, sizeof names, "DNS:%s", host);
    X509 *certificate = unsigned_certificate(leaf_key, "Policy Host");
    X509_set_issuer_name(certificate, X509_get_subject_name(ca));
    extend(certificate, NID_subject_alt_name, names);
    extend(certificate, NID_authority_key_identifier, "keyid");
    extend(certificate, NID_ext_key_usage, "serverAuth");
    if (!X509_sign(certificate, ca_key, EVP_sha256()))
        die("X509_sign");
    return certificate;
}

static bool is_in(const char *host, const char *zone)
{
    size_t size = strlen(host), end = strlen(zone);
    return size > end && !strcmp(host + size - end, zone);
}

static int on_server_name(SSL *tls, int *alert, void *unused)
{
    (void)unused;
    const char *host = SSL_get_servername(tls, TLSEXT_NAMETYPE_host_name);
    if (!host) {
        *alert = SSL_AD_UNRECOGNIZED_NAME;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    X509 *certificate = certificate_for(is_in(host, ".wrong.test") ? "other.test" : host);
    int fits = SSL_use_certificate(tls, certificate) && SSL_use_PrivateKey(tls, leaf_key);
    X509_free(certificate);
    return fits ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *server_context(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (!context)
        die("SSL_CTX_new");
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_tlsext_servername_callback(context, on_server_name);
    return context;
}

static int listen_on(const char *address, int backlog)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    if (!inet_aton(address, &at.sin_addr) || fd < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, backlog))
        die(address);
    return fd;
}

/* Linux drops SYNs for a socket whose queue is full: two connections fill a queue of size 0. */
static void make_hole(const char *address)
{
    int hole = listen_on(address, 0);
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    getsockname(hole, (struct sockaddr *)&at, &size);
    for (int i = 0; i < 2; i++) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fd, (struct sockaddr *)&at, size) && errno != EINPROGRESS)
            die("fill the hole");
    }
}

static void watch(int epoll, struct client *client)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event))
        die("epoll_ctl");
}

static struct client *make_client(int fd, SSL_CTX *context)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client)
        die("calloc");
    client->fd = fd;
    if (context) {
        client->tls = SSL_new(context);
        SSL_set_fd(client->tls, fd);
        SSL_set_accept_state(client->tls);
    }
    return client;
}

static void close_client(struct client *client)
{
    SSL_free(client->tls);
    close(client->fd);
    free(client);
    ERR_clear_error();
}

static void send_policy(struct client *client)
{
    const char *host = SSL_get_servername(client->tls, TLSEXT_NAMETYPE_host_name);
    const char *domain = host ? host + strlen("mta-sts.") : "";
    const char *status = host && is_in(host, ".gone.test") ? "404 Not Found" : "200 OK";
    char body[MAX_TEXT], answer[2 * MAX_TEXT];
    int size = snprintf(body, sizeof body,
                        "version: STSv1\r\nmode: enforce\r\nmx: mx1.%s\r\nmx: mx2.%s\r\n"
                        "max_age: 604800\r\n",
                        domain, domain);
    int all = snprintf(answer, sizeof answer,
                       "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
                       status, size, body);
    SSL_write(client->tls, answer, all); /* far less than the send buffer of a socket */
    client->answered = true;
}

/* Process the bytes received from a client; false when it is done. */
static bool process(struct client *client)
{
    if (!client->tls) {
        ssize_t size = read(client->fd, client->text, sizeof client->text);
        return size > 0 || (size < 0 && errno == EAGAIN);
    }
    for (;;) {
        int room = (int)(sizeof client->text - client->got - 1);
        int size = SSL_read(client->tls, client->text + client->got, room);
        if (size <= 0)
            return SSL_get_error(client->tls, size) == SSL_ERROR_WANT_READ;
        client->got += (size_t)size;
        if (client->answered || client->got + 1 == sizeof client->text)
            return false;
        if (strstr(client->text, "\r\n\r\n"))
            send_policy(client);
    }
}

static void accept_clients(int epoll, int listener, SSL_CTX *context)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0)
        watch(epoll, make_client(fd, context));
}

static void write_authority(const char *path)
{
    char ready[MAX_TEXT];
    snprintf(ready, sizeof ready, "%s.new", path);
    FILE *file = fopen(ready, "w");
    if (!file || !PEM_write_X509(file, ca) || fclose(file) || rename(ready, path))
        die(path);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: policy_host CA_FILE ADDRESS HOLE STALL\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    make_authority();
    SSL_CTX *context = server_context();
    int epoll = epoll_create1(0);
    struct client *answering = make_client(listen_on(argv[2], BACKLOG), NULL);
    struct client *stalling = make_client(listen_on(argv[4], BACKLOG), NULL);
    make_hole(argv[3]);
    watch(epoll, answering);
    watch(epoll, stalling);
    write_authority(argv[1]);
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            struct client *client = events[i].data.ptr;
            if (client == answering || client == stalling)
                accept_clients(epoll, client->fd, client == answering ? context : NULL);
            else if (!process(client))
                close_client(client);
        }
    }
}
