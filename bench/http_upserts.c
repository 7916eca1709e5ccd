/* http_upserts.c — single upserts over kept-alive connections, each document a different real
 * vector.
 *
 *   http_upserts PORT COLLECTION VECTORS.npy CLIENTS FIRST ROWS COUNT SECONDS
 *
 * Sends rows FIRST … FIRST + ROWS - 1 in turn, until COUNT are acknowledged or SECONDS have passed
 * (0: no such bound). All requests are rendered before the clock runs. One thread serves all
 * clients; each has one request under way. Anything but 201 ends the run.
 */
#include "base/json.h"
#include "common.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define CLIENTS_MAX 1024u
#define ANSWER_MAX 4096u
#define TOOK_MAX (16u << 20)

struct client {
    int fd;
    double began;
    const char *rest; /* of the request under way, not sent yet */
    size_t rest_len;
    size_t len; /* of the answer so far */
    char answer[ANSWER_MAX];
};

struct bench {
    struct ak_buf bytes; /* the requests, one after the other */
    size_t *starts;      /* [rows + 1] */
    uint32_t rows;
    uint64_t started, count;
    double deadline;
    struct worker calls;
};

static void render(struct bench *bench, const char *collection, const struct rows *vectors,
                   uint32_t first)
{
    struct ak_buf body;
    ak_buf_init(&bench->bytes, (size_t)8 << 30);
    ak_buf_init(&body, 0);
    bench->starts = calloc((size_t)bench->rows + 1, sizeof *bench->starts);
    for (uint32_t i = 0; i < bench->rows && bench->starts; i++) {
        ak_buf_clear(&body);
        ak_buf_add_str(&body, AK_STR("{\"vector\":"));
        ak_json_put_f32_array(&body, row(vectors, (uint64_t)first + i), vectors->dimension);
        ak_buf_add_fmt(&body, ",\"metadata\":{\"index\":%u}}", first + i);
        ak_buf_add_fmt(&bench->bytes,
                       "POST /collections/%s/vectors HTTP/1.1\r\nHost: localhost\r\n"
                       "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
                       collection, body.len);
        ak_buf_add_str(&bench->bytes, ak_buf_str(&body));
        bench->starts[i + 1] = bench->bytes.len;
    }
    if (!bench->starts || bench->bytes.failed || body.failed) {
        die("no memory for %u requests", bench->rows);
    }
    ak_buf_release(&body);
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        die("cannot connect to port %u", port);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void push(struct client *c)
{
    while (c->rest_len > 0) {
        ssize_t n = send(c->fd, c->rest, c->rest_len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            return; /* EPOLLOUT, edge-triggered, calls again */
        }
        if (n < 0) {
            die("a connection broke while sending");
        }
        c->rest += n;
        c->rest_len -= (size_t)n;
    }
}

/* The next request; none when the run is over. */
static void start_one(struct bench *bench, struct client *c)
{
    c->began = now();
    if (bench->started == bench->count || c->began >= bench->deadline) {
        return;
    }
    size_t i = (size_t)(bench->started++ % bench->rows);
    c->rest = bench->bytes.p + bench->starts[i];
    c->rest_len = bench->starts[i + 1] - bench->starts[i];
    push(c);
}

/* Is the answer whole? Only 201 with a Content-Length is. */
static int is_whole(struct client *c)
{
    c->answer[c->len] = '\0';
    const char *end = strstr(c->answer, "\r\n\r\n");
    const char *length = strcasestr(c->answer, "\r\nContent-Length: ");
    if (!end) {
        return 0;
    }
    if (strncmp(c->answer, "HTTP/1.1 201", 12) != 0 || !length || length > end) {
        die("the server answered: %s", c->answer);
    }
    size_t body = strtoul(length + 18, NULL, 10);
    return c->len >= (size_t)(end + 4 - c->answer) + body;
}

static void pull(struct bench *bench, struct client *c)
{
    ssize_t n;
    while ((n = recv(c->fd, c->answer + c->len, ANSWER_MAX - 1 - c->len, 0)) > 0) {
        c->len += (size_t)n;
        if (is_whole(c)) {
            c->len = 0;
            note(&bench->calls, c->began);
            start_one(bench, c);
        }
    }
    if (n == 0 || errno != EAGAIN) {
        die("a connection broke while waiting for an answer");
    }
}

static double run(struct bench *bench, uint16_t port, uint32_t clients, double seconds)
{
    static struct client all[CLIENTS_MAX];
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    for (uint32_t i = 0; i < clients; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &all[i]};
        all[i].fd = connect_to(port);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, all[i].fd, &event) != 0) {
            die("epoll failed");
        }
    }
    double began = now();
    bench->deadline = seconds > 0 ? began + seconds : began + 3600;
    for (uint32_t i = 0; i < clients; i++) {
        start_one(bench, &all[i]);
    }
    while (bench->calls.done < bench->started) {
        struct epoll_event events[CLIENTS_MAX];
        int n = epoll_wait(epoll, events, CLIENTS_MAX, 60000);
        if (n == 0) {
            die("the server has not answered for a minute");
        }
        for (int i = 0; i < n; i++) {
            push(events[i].data.ptr);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                pull(bench, events[i].data.ptr);
            }
        }
    }
    return now() - began;
}

int main(int argc, char **argv)
{
    if (argc != 9) {
        die("usage: http_upserts PORT COLLECTION VECTORS.npy CLIENTS FIRST ROWS COUNT SECONDS");
    }
    struct rows vectors = map_npy(argv[3]);
    uint32_t clients = number(argv[4], "CLIENTS", CLIENTS_MAX);
    struct bench bench = {.rows = number(argv[6], "ROWS", 10000000),
                          .calls = {.took = calloc(TOOK_MAX, sizeof(float)), .took_max = TOOK_MAX}};
    bench.count = strtoull(argv[7], NULL, 10);
    bench.count = bench.count ? bench.count : UINT64_MAX;
    if (!bench.calls.took) {
        die("no memory");
    }
    render(&bench, argv[2], &vectors, (uint32_t)strtoul(argv[5], NULL, 10));
    /* Ready: whoever wants something to happen at the same time waits for this line. */
    (void)fprintf(stderr, "rendered\n");
    double took =
        run(&bench, (uint16_t)number(argv[1], "PORT", 65535), clients, strtod(argv[8], NULL));
    (void)printf("{\"clients\":%u,", clients);
    print_calls(&bench.calls, 1, took);
    (void)printf("}\n");
    return 0;
}
