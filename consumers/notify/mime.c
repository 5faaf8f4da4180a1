#include "consumers/notify/mime.h"

#include "consumers/notify/address.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { QP_LINE_MAX = 76, URL_SIZE_MAX = 900 };

bool mime_url_valid(struct text url)
{
    if (url.size > URL_SIZE_MAX)
        return false;
    for (uint32_t at = 0; at < url.size; at++)
        if (url.data[at] <= 0x20 || url.data[at] > 0x7e || memchr("<>\"\\,", url.data[at], 5) != NULL)
            return false;
    return true;
}

/* English names and +0000, whatever the locale. */
static void write_date(FILE *to, int64_t ms)
{
    static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    time_t seconds = (time_t)(ms / 1000);
    struct tm at;
    gmtime_r(&seconds, &at);
    fprintf(to, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", days[at.tm_wday], at.tm_mday,
            months[at.tm_mon], at.tm_year + 1900, at.tm_hour, at.tm_min, at.tm_sec);
}

/* Quoted-printable. A dot that begins a line is written as =2E: whoever forgets to double it cannot end the letter with it;
 * "From " likewise, for mailboxes that keep letters in one file. */
static void write_quoted(FILE *to, struct text text)
{
    static const char hex[] = "0123456789ABCDEF";
    int column = 0;
    for (uint32_t at = 0; at < text.size; at++) {
        unsigned char c = (unsigned char)text.data[at];
        if (c == '\r' && at + 1 < text.size && text.data[at + 1] == '\n')
            continue;
        if (c == '\n') {
            fputs("\r\n", to);
            column = 0;
            continue;
        }
        bool ends_line = at + 1 == text.size || text.data[at + 1] == '\n' || text.data[at + 1] == '\r';
        bool as_is = (c > 0x20 && c < 0x7f && c != '=') || ((c == ' ' || c == '\t') && !ends_line);
        if (column == 0 && (c == '.' || c == 'F'))
            as_is = false;
        int width = as_is ? 1 : 3;
        if (column + width > QP_LINE_MAX - 1) {
            fputs("=\r\n", to);
            column = 0;
            if (as_is && (c == '.' || c == 'F')) {
                as_is = false;
                width = 3;
            }
        }
        if (as_is)
            fputc(c, to);
        else
            fprintf(to, "=%c%c", hex[c >> 4], hex[c & 15]);
        column += width;
    }
    if (column > 0)
        fputs("\r\n", to);
}

static void write_part(FILE *to, const struct mime_letter *letter, const char *type, struct text body)
{
    fprintf(to,
            "--=_lens_%.*s\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: "
            "quoted-printable\r\n\r\n",
            TEXT_ARG(letter->id), type);
    write_quoted(to, body);
    fputs("\r\n", to);
}

static void write_headers(FILE *to, const struct mime_letter *letter)
{
    struct text domain = address_domain(letter->from_address);
    write_date(to, letter->date_ms);
    header_write_address(to, "From", letter->from_name, letter->from_address);
    header_write_address(to, "To", letter->to_name, letter->to_address);
    header_write_text(to, "Subject", letter->subject);
    fprintf(to, "Message-ID: <%.*s@%.*s>\r\n", TEXT_ARG(letter->id), TEXT_ARG(domain));
    fputs("MIME-Version: 1.0\r\nAuto-Submitted: auto-generated\r\n", to);
    fprintf(to, "List-Id: <%.*s.%.*s>\r\n", TEXT_ARG(letter->list), TEXT_ARG(domain));
    if (!text_empty(letter->unsubscribe_url))
        fprintf(to, "List-Unsubscribe:\r\n <%.*s>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
                TEXT_ARG(letter->unsubscribe_url));
    /* "=_" cannot stand in quoted-printable text: no body holds the boundary. */
    fprintf(to, "Content-Type: multipart/alternative;\r\n boundary=\"=_lens_%.*s\"\r\n\r\n",
            TEXT_ARG(letter->id));
}

char *mime_write(const struct mime_letter *letter, size_t *ret_size)
{
    char *bytes = NULL;
    FILE *to = open_memstream(&bytes, ret_size);
    if (to == NULL)
        abort();
    write_headers(to, letter);
    write_part(to, letter, "plain", letter->text);
    write_part(to, letter, "html", letter->html);
    fprintf(to, "--=_lens_%.*s--\r\n", TEXT_ARG(letter->id));
    if (fclose(to) != 0)
        abort();
    return bytes;
}
