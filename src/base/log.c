/* log.c — the server's own log.
 *
 * A line is built in memory and leaves in one write(2), so lines of several threads or processes on
 * one O_APPEND file or pipe do not mix (a pipe promises that up to PIPE_BUF bytes). Messages hold
 * bytes from outside: control characters and, in JSON, bytes that are not UTF-8 are escaped, so
 * that nobody can forge a line.
 */
#include "base/log.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/str.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define LINE_MAX_BYTES ((size_t)256 << 10)
#define MESSAGE_MAX_BYTES ((size_t)32 << 10) /* every byte escaped six-fold still fits a line */

struct ak_log {
    int fd;
    enum ak_log_level level;
    enum ak_log_format format;
};

struct ak_log *ak_log_open(int fd, enum ak_log_level level, enum ak_log_format format)
{
    struct ak_log *log = ak_alloc(sizeof *log);
    *log = (struct ak_log){fd, level, format};
    return log;
}

void ak_log_close(struct ak_log *log)
{
    ak_free(log);
}

/* One character of text, given as its bytes, for the text format. */
static void put_text_char(struct ak_buf *line, unsigned char c)
{
    if (c == '\n') {
        ak_buf_add_str(line, AK_STR("\\n"));
    } else if ((c < 0x20 && c != '\t') || c == 0x7f) {
        ak_buf_add_fmt(line, "\\x%02x", c);
    } else {
        ak_buf_add_char(line, (char)c);
    }
}

/* Length of the valid UTF-8 sequence that `s` begins with, 0 when it begins with none. */
static size_t sequence_len(struct ak_str s)
{
    for (size_t len = 1; len <= 4 && len <= s.len; len++) {
        if (ak_utf8_is_valid(ak_str_sub(s, 0, len))) {
            return len;
        }
    }
    return 0;
}

static size_t put_json_char(struct ak_buf *line, struct ak_str rest)
{
    unsigned char c = (unsigned char)rest.p[0];
    if (c == '"' || c == '\\') {
        ak_buf_add_char(line, '\\');
        ak_buf_add_char(line, (char)c);
        return 1;
    }
    if (c < 0x20 || c == 0x7f) {
        ak_buf_add_fmt(line, "\\u%04x", c);
        return 1;
    }
    size_t len = sequence_len(rest);
    if (len == 0) {
        ak_buf_add_str(line, AK_STR("\xef\xbf\xbd")); /* U+FFFD, the replacement character */
        return 1;
    }
    ak_buf_add(line, rest.p, len);
    return len;
}

static void put_message(struct ak_buf *line, enum ak_log_format format, struct ak_str message)
{
    size_t at = 0;
    while (at < message.len) {
        if (format == AK_LOG_JSON) {
            at += put_json_char(line, ak_str_sub(message, at, message.len));
        } else {
            put_text_char(line, (unsigned char)message.p[at++]);
        }
    }
}

static void put_line(struct ak_buf *line, enum ak_log_format format, enum ak_log_level level,
                     const char *module, struct ak_str message)
{
    static const char *const padded[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};
    static const char *const lower[] = {"debug", "info", "warn", "error"};
    char time[AK_TIME_TEXT_MAX];
    (void)ak_time_format(ak_now_us(ak_clock_system()), time);
    if (format == AK_LOG_JSON) {
        ak_buf_add_fmt(line, "{\"ts\":\"%s\",\"level\":\"%s\",\"module\":\"", time, lower[level]);
        put_message(line, format, ak_str_of(module));
        ak_buf_add_str(line, AK_STR("\",\"message\":\""));
        put_message(line, format, message);
        ak_buf_add_str(line, AK_STR("\"}\n"));
    } else {
        ak_buf_add_fmt(line, "%s %s %s: ", time, padded[level], module);
        put_message(line, format, message);
        ak_buf_add_char(line, '\n');
    }
}

/* A log that cannot be written has nowhere to say so: the line is dropped. */
static void write_line(int fd, struct ak_str line)
{
    while (line.len) {
        ssize_t wrote = write(fd, line.p, line.len);
        if (wrote < 0) {
            if (errno == EINTR) {
                continue;
            }
            return;
        }
        line = ak_str_sub(line, (size_t)wrote, line.len);
    }
}

void ak_log_write(struct ak_log *log, enum ak_log_level level, const char *module, const char *fmt,
                  ...)
{
    if (!log || level < log->level) {
        return;
    }
    int errnum = errno; /* a caller may log between a system call and its look at errno */
    char small[1024];
    va_list ap;
    va_start(ap, fmt);
    va_list again;
    va_copy(again, ap);
    int wanted = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    size_t len = wanted > 0 ? (size_t)wanted : 0;
    char *large = NULL;
    struct ak_str message = {small, len};
    if (len >= sizeof small) {
        size_t room = (len < MESSAGE_MAX_BYTES ? len : MESSAGE_MAX_BYTES) + 1;
        large = ak_try_alloc(room);
        message = (struct ak_str){small, sizeof small - 1}; /* without memory: its beginning */
        if (large) {
            (void)vsnprintf(large, room, fmt, again);
            message = (struct ak_str){large, room - 1};
        }
    }
    va_end(again);

    struct ak_buf line;
    ak_buf_init(&line, LINE_MAX_BYTES);
    put_line(&line, log->format, level, module, message);
    if (ak_buf_check(&line, NULL) == AK_OK) {
        write_line(log->fd, ak_buf_str(&line));
    } else {
        write_line(log->fd, AK_STR("a log line was lost: out of memory\n"));
    }
    ak_buf_release(&line);
    ak_free(large);
    errno = errnum;
}
