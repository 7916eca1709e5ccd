/* poll_health.c — asks GET /health every few milliseconds until its standard input closes.
 *
 *   poll_health PORT INTERVAL_MS
 *
 * One kept-alive connection, one answer at a time; an answer that is late delays the next question,
 * and every question that should have been asked meanwhile is counted with the wait it would have
 * had, so that one long stall is not one sample. Runs at raised priority where it may: it measures
 * the server's wait for a core, not its own.
 */
#include "common.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define SAMPLES_MAX (1u << 20)

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        die("cannot connect to port %u", port);
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void ask(int fd)
{
    static const char question[] = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char answer[4096];
    size_t len = 0;
    if (write(fd, question, sizeof question - 1) != sizeof question - 1) {
        die("the connection broke");
    }
    do {
        ssize_t n = read(fd, answer + len, sizeof answer - 1 - len);
        if (n <= 0) {
            die("the connection broke");
        }
        len += (size_t)n;
        answer[len] = '\0';
    } while (!strstr(answer, "\"ok\"}"));
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        die("usage: poll_health PORT INTERVAL_MS");
    }
    uint16_t port = (uint16_t)number(argv[1], "PORT", 65535);
    double interval = number(argv[2], "INTERVAL_MS", 10000) / 1e3;
    int raised = setpriority(PRIO_PROCESS, 0, -10) == 0;
    static float took[SAMPLES_MAX];
    uint32_t n = 0;
    uint32_t late = 0;
    int fd = connect_to(port);
    ask(fd);
    double due = now() + interval;
    for (;;) {
        double wait = due - now();
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        struct timespec pause = {.tv_nsec = (long)((wait > 0 ? wait : 0) * 1e9)};
        pause.tv_sec = (time_t)(wait > 0 ? wait : 0);
        pause.tv_nsec -= (long)(pause.tv_sec * 1000000000L);
        if (ppoll(&input, 1, &pause, NULL) > 0) {
            break;
        }
        double began = now();
        ask(fd);
        double end = now();
        double wait_of = end - began;
        do {
            if (n < SAMPLES_MAX) {
                took[n++] = (float)wait_of;
            }
            late += wait_of >= 0.010;
            due += interval;
            wait_of = end - due;
        } while (wait_of > 0);
    }
    qsort(took, n, sizeof *took, compare_floats);
    (void)printf("{\"polls\":%u,\"late\":%u,\"raised\":%s,\"ms_p50\":%.3f,\"ms_p99\":%.3f,"
                 "\"ms_p999\":%.3f,\"ms_max\":%.3f}\n",
                 n, late, raised ? "true" : "false", 1e3 * (double)took[n / 2],
                 1e3 * (double)took[n * 99ull / 100], 1e3 * (double)took[n * 999ull / 1000],
                 1e3 * (double)took[n ? n - 1 : 0]);
    return 0;
}
