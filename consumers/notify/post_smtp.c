/*
 * post_smtp.c - letters to a mail server, by libcurl 7.88.
 * Traps:  UPLOAD must be set, else libcurl sends VRFY. It dials through $all_proxy unless PROXY is "". It takes CR LF and '>' in
 *         an address as they come (curl pull 22119): ours have passed address_valid. Its error codes and RESPONSE_CODE do not say
 *         which command failed; the debug callback sees each command and each reply, and is the only witness here. It doubles
 *         dots at the beginnings of lines and ends the text itself. A dead kept connection is not redialled for an upload: we
 *         learn of it as POST_DOWN, and nothing was handed over.
 */
#include "consumers/notify/post.h"

#include "consumers/notify/address.h"
#include "runtime/process.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum step { STEP_CONNECT, STEP_HELLO, STEP_AUTH, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_TEXT };

struct post_smtp {
    CURL *curl;
    const struct config *config;
    char url[2 * CONFIG_TEXT_SIZE + 32];
    char password[512];
    char why[CURL_ERROR_SIZE];

    /* of the letter under way */
    const struct post_letter *letter;
    size_t sent;    /* bytes of it that libcurl has taken */
    enum step step; /* the command that was sent last; STEP_TEXT: 354 came */
    int code;       /* the last reply to it; 0: none yet */
    char reply[POST_WORDS_SIZE];
};

/* ---- what is said on the wire ---- */

static void note_command(struct post_smtp *smtp, const char *data, size_t size)
{
    static const struct {
        const char *word;
        enum step step;
    } known[] = { { "EHLO", STEP_HELLO }, { "HELO", STEP_HELLO },      { "STARTTLS", STEP_HELLO },
                  { "AUTH", STEP_AUTH },  { "MAIL FROM:", STEP_MAIL }, { "RCPT TO:", STEP_RCPT },
                  { "DATA", STEP_DATA } };
    for (size_t at = 0; at < sizeof known / sizeof known[0]; at++) {
        size_t word = strlen(known[at].word);
        if (size < word || strncasecmp(data, known[at].word, word) != 0)
            continue;
        smtp->step = known[at].step;
        smtp->code = 0;
        return;
    }
    if (size >= 4 && strncasecmp(data, "QUIT", 4) == 0)
        return; /* what the server says to that is no word about the letter */
    if (smtp->step == STEP_AUTH)
        smtp->code = 0; /* the next round of it */
}

static void note_reply(struct post_smtp *smtp, const char *data, size_t size)
{
    if (size < 3 || data[0] < '2' || data[0] > '5' || data[1] < '0' || data[1] > '9' || data[2] < '0' ||
        data[2] > '9')
        return;
    int code = (data[0] - '0') * 100 + (data[1] - '0') * 10 + data[2] - '0';
    if (size > 3 && data[3] == '-')
        return; /* more lines follow */
    if (smtp->code >= 400)
        return; /* the first refusal counts, not the farewell */
    if (smtp->step == STEP_DATA && code == 354) {
        smtp->step = STEP_TEXT;
        smtp->code = 0;
        return;
    }
    smtp->code = code;
    size_t used = 0;
    for (size_t at = 0; at < size && used + 1 < sizeof smtp->reply && data[at] != '\r' && data[at] != '\n';
         at++)
        smtp->reply[used++] = data[at] >= 0x20 && data[at] < 0x7f ? data[at] : '?';
    smtp->reply[used] = '\0';
}

static int on_debug(CURL *curl, curl_infotype type, char *data, size_t size, void *arg)
{
    (void)curl;
    if (type == CURLINFO_HEADER_OUT)
        note_command(arg, data, size);
    else if (type == CURLINFO_HEADER_IN)
        note_reply(arg, data, size);
    return 0;
}

static size_t on_read(char *to, size_t size, size_t count, void *arg)
{
    struct post_smtp *smtp = arg;
    size_t left = smtp->letter->message.size - smtp->sent, room = size * count;
    size_t take = left < room ? left : room;
    smtp->step = STEP_TEXT; /* libcurl asks for text only after 354 */
    memcpy(to, smtp->letter->message.data + smtp->sent, take);
    smtp->sent += take;
    return take;
}

/* Asked to stop, a letter that has not begun to go is left; one that has is finished. */
static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    struct post_smtp *smtp = arg;
    (void)a, (void)b, (void)c, (void)d;
    return process_stopping() && smtp->step < STEP_DATA;
}

/* ---- one letter ---- */

static enum post_outcome judge(const struct post_smtp *smtp, CURLcode result)
{
    bool is_of_letter = smtp->step == STEP_RCPT || smtp->step == STEP_DATA || smtp->step == STEP_TEXT;
    if (smtp->step == STEP_TEXT && smtp->code >= 200 && smtp->code < 300)
        return POST_ACCEPTED; /* it said so, whatever was lost afterwards */
    if (is_of_letter && smtp->code == 421)
        return POST_PUT_OFF; /* the server closes: nothing is wrong with the address */
    if (is_of_letter && smtp->code >= 400)
        return smtp->code < 500 ? POST_PUT_OFF : POST_REFUSED;
    if (smtp->step == STEP_TEXT)
        return POST_UNKNOWN;
    (void)result;
    return POST_DOWN;
}

static void say(const struct post_smtp *smtp, enum post_outcome outcome, CURLcode result,
                char words[POST_WORDS_SIZE])
{
    static const char *const steps[] = { "connecting", "EHLO", "AUTH",    "MAIL FROM",
                                         "RCPT TO",    "DATA", "the text" };
    if (outcome == POST_ACCEPTED || outcome == POST_PUT_OFF || outcome == POST_REFUSED)
        snprintf(words, POST_WORDS_SIZE, "%s: %.230s", steps[smtp->step], smtp->reply);
    else
        snprintf(words, POST_WORDS_SIZE, "%s: %.120s%s%.90s", steps[smtp->step],
                 smtp->why[0] != '\0' ? smtp->why : curl_easy_strerror(result), smtp->code >= 400 ? ": " : "",
                 smtp->code >= 400 ? smtp->reply : "");
    for (char *at = words; *at != '\0'; at++)
        if (*at < 0x20 || *at > 0x7e)
            *at = '?';
}

static enum post_outcome smtp_send(void *self, const struct post_letter *letter, char words[POST_WORDS_SIZE])
{
    struct post_smtp *smtp = self;
    if (!address_valid(letter->from) || !address_valid(letter->to)) {
        snprintf(words, POST_WORDS_SIZE,
                 "not handed over: an address of another form than a mail server takes");
        return POST_REFUSED;
    }
    char from[ADDRESS_SIZE_MAX + 3], to[ADDRESS_SIZE_MAX + 3];
    snprintf(from, sizeof from, "<%.*s>", TEXT_ARG(letter->from));
    snprintf(to, sizeof to, "<%.*s>", TEXT_ARG(letter->to));
    struct curl_slist *recipients = curl_slist_append(NULL, to);
    if (recipients == NULL)
        abort();
    smtp->letter = letter;
    smtp->sent = 0;
    smtp->step = STEP_CONNECT;
    smtp->code = 0;
    smtp->reply[0] = smtp->why[0] = '\0';
    curl_easy_setopt(smtp->curl, CURLOPT_MAIL_FROM, from);
    curl_easy_setopt(smtp->curl, CURLOPT_MAIL_RCPT, recipients);
    curl_easy_setopt(smtp->curl, CURLOPT_INFILESIZE_LARGE, (curl_off_t)letter->message.size);
    CURLcode result = curl_easy_perform(smtp->curl);
    curl_easy_setopt(smtp->curl, CURLOPT_MAIL_RCPT, NULL);
    curl_slist_free_all(recipients);
    smtp->letter = NULL;
    enum post_outcome outcome = judge(smtp, result);
    say(smtp, outcome, result, words);
    return outcome;
}

static void smtp_close(void *self)
{
    struct post_smtp *smtp = self;
    if (smtp == NULL)
        return;
    curl_easy_cleanup(smtp->curl);
    explicit_bzero(smtp->password, sizeof smtp->password);
    free(smtp);
}

static const struct post_ops ops = { .send = smtp_send, .close = smtp_close };

/* ---- settings ---- */

static bool is_host(const char *host)
{
    return host[0] != '\0' && host[0] != '-' &&
           strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]") ==
               strlen(host);
}

enum ll_status post_smtp_check(const struct config *config, struct ll_err *err)
{
    char secret[512];
    bool is_plain = strcmp(config->notify.smtp_tls, "none") == 0,
         has_user = config->notify.smtp_username[0] != '\0';
    if (!is_host(config->notify.smtp_host))
        return ll_fail(err, LL_FATAL,
                       "notify.smtp_host: \"%s\" is no host; set it, or notify.delivery = \"file\"",
                       config->notify.smtp_host);
    if (config->notify.smtp_helo[0] != '\0' && !is_host(config->notify.smtp_helo))
        return ll_fail(err, LL_FATAL, "notify.smtp_helo: \"%s\" is no host name", config->notify.smtp_helo);
    if (has_user && is_plain)
        return ll_fail(err, LL_FATAL,
                       "notify.smtp_username: no password goes over a line that is not encrypted: set "
                       "notify.smtp_tls to starttls or tls");
    if (has_user && config->notify.smtp_password_file[0] == '\0')
        return ll_fail(err, LL_FATAL, "notify.smtp_username needs notify.smtp_password_file");
    enum ll_status status = config_secret(config->notify.smtp_password_file, secret, sizeof secret, err);
    explicit_bzero(secret, sizeof secret);
    const char *ca = config->notify.smtp_ca_file;
    if (status == LL_OK && ca[0] != '\0' && access(ca, R_OK) != 0)
        status = ll_fail(err, LL_FATAL, "notify.smtp_ca_file: %s: %s", ca, strerror(errno));
    return status;
}

static void set_options(struct post_smtp *smtp)
{
    const struct config *config = smtp->config;
    CURL *curl = smtp->curl;
    bool is_plain = strcmp(config->notify.smtp_tls, "none") == 0;
    curl_easy_setopt(curl, CURLOPT_URL, smtp->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_read);
    curl_easy_setopt(curl, CURLOPT_READDATA, smtp);
    curl_easy_setopt(curl, CURLOPT_VERBOSE, 1L);
    curl_easy_setopt(curl, CURLOPT_DEBUGFUNCTION, on_debug);
    curl_easy_setopt(curl, CURLOPT_DEBUGDATA, smtp);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, smtp);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, smtp->why);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)config->notify.smtp_timeout_ms);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)config->notify.smtp_timeout_ms);
    curl_easy_setopt(curl, CURLOPT_USE_SSL, is_plain ? (long)CURLUSESSL_NONE : (long)CURLUSESSL_ALL);
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (config->notify.smtp_ca_file[0] != '\0')
        curl_easy_setopt(curl, CURLOPT_CAINFO, config->notify.smtp_ca_file);
    if (config->notify.smtp_username[0] != '\0') {
        curl_easy_setopt(curl, CURLOPT_USERNAME, config->notify.smtp_username);
        curl_easy_setopt(curl, CURLOPT_PASSWORD, smtp->password);
    }
}

enum ll_status post_smtp_open(const struct config *config, struct post *ret, struct ll_err *err)
{
    enum ll_status status = post_smtp_check(config, err);
    if (status != LL_OK)
        return status;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return ll_fail(err, LL_FATAL, "libcurl does not start");
    struct post_smtp *smtp = calloc(1, sizeof *smtp);
    if (smtp == NULL)
        abort();
    smtp->config = config;
    status = config_secret(config->notify.smtp_password_file, smtp->password, sizeof smtp->password, err);
    smtp->curl = curl_easy_init();
    if (smtp->curl == NULL)
        abort();
    struct text domain = address_domain(text_of(config->notify.from_address));
    bool is_tls = strcmp(config->notify.smtp_tls, "tls") == 0,
         is_v6 = strchr(config->notify.smtp_host, ':') != NULL && config->notify.smtp_host[0] != '[';
    snprintf(smtp->url, sizeof smtp->url, "%s://%s%s%s:%d/%.*s", is_tls ? "smtps" : "smtp", is_v6 ? "[" : "",
             config->notify.smtp_host, is_v6 ? "]" : "", config->notify.smtp_port,
             config->notify.smtp_helo[0] != '\0' ? (int)strlen(config->notify.smtp_helo) : (int)domain.size,
             config->notify.smtp_helo[0] != '\0' ? config->notify.smtp_helo : domain.data);
    set_options(smtp);
    *ret = (struct post){ .ops = &ops, .self = smtp, .is_repeatable = false };
    snprintf(ret->address, sizeof ret->address, "smtp %.230s:%d", config->notify.smtp_host,
             config->notify.smtp_port);
    if (status != LL_OK)
        smtp_close(smtp);
    return status;
}
