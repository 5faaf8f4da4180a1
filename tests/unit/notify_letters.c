/* What a letter is made of: addresses, headers, templates, tokens, and the bytes for the wire. */
#include "consumers/notify/address.h"
#include "consumers/notify/intake.h"
#include "consumers/notify/letters.h"
#include "consumers/notify/mime.h"
#include "consumers/notify/token.h"

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define T(literal)                                                                                           \
    {                                                                                                        \
        literal, sizeof(literal) - 1                                                                         \
    }

static const struct {
    const char *why;
    struct text address;
    bool valid;
} addresses[] = {
    { "plain", T("ada@mail.example"), true },
    { "all that an atom may hold", T("a!#$%&'*+-/=?^_`{|}~0@mail.example"), true },
    { "dots between", T("a.b.c@x.y.mail.example"), true },
    { "a host of digits and letters", T("a@3com.example"), true },
    { "64 before the at", T("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@b.example"),
      true },
    { "65 before the at", T("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@b.example"),
      false },
    { "none", T(""), false },
    { "no at", T("ada"), false },
    { "nothing before it", T("@mail.example"), false },
    { "nothing behind it", T("ada@"), false },
    { "two", T("a@b@mail.example"), false },
    { "a header", T("a@mail.example\r\nBcc: b@mail.example"), false },
    { "a line feed alone", T("a@mail.example\nBcc:b@mail.example"), false },
    { "a command", T("a@mail.example>\r\nRCPT TO:<b@mail.example"), false },
    { "a bracket", T("a@mail.example>"), false },
    { "parameters", T("a@mail.example> SIZE=1"), false },
    { "a bracket before the at", T("a>b@mail.example"), false },
    { "an opening one", T("<a@mail.example"), false },
    { "a list", T("a@mail.example,b@mail.example"), false },
    { "a blank", T("a b@mail.example"), false },
    { "quoted", T("\"a b\"@mail.example"), false },
    { "NUL within", T("a@mail.example\0.b"), false },
    { "NUL at the end", T("a@mail.example\0"), false },
    { "not ASCII before the at", T("\xc3\xa4@mail.example"), false },
    { "not ASCII behind it", T("a@m\xc3\xa4il.example"), false },
    { "DEL", T("a\x7f@mail.example"), false },
    { "a dot first", T(".a@mail.example"), false },
    { "a dot last", T("a.@mail.example"), false },
    { "two dots", T("a..b@mail.example"), false },
    { "a host without a dot", T("a@localhost"), false },
    { "an address of digits", T("a@127.0.0.1"), false },
    { "a literal", T("a@[127.0.0.1]"), false },
    { "a hyphen first", T("a@-mail.example"), false },
    { "a hyphen last", T("a@mail-.example"), false },
    { "an empty label", T("a@mail..example"), false },
    { "a dot at the end", T("a@mail.example."), false },
    { "an underscore", T("a@ma_il.example"), false },
};

Test(notify_letters, addresses_that_a_server_may_see)
{
    for (size_t at = 0; at < sizeof addresses / sizeof addresses[0]; at++)
        cr_expect_eq(address_valid(addresses[at].address), addresses[at].valid, "%s", addresses[at].why);
    cr_expect_not(address_valid((struct text){ NULL, 0 }), "null");
    char label[64 + 20], domain[300] = "a@";
    memset(label, 'a', 64);
    snprintf(label + 64, sizeof label - 64, "%s", ".example");
    snprintf(domain + 2, sizeof domain - 2, "%s", label);
    cr_expect_not(address_valid(text_of(domain)), "a label of 64");
    cr_expect(address_valid((struct text){ "a@mail.example rest", 14 }), "a view of a longer text");
}

static char *header(struct text value)
{
    char *bytes = NULL;
    size_t size;
    FILE *to = open_memstream(&bytes, &size);
    header_write_text(to, "Subject", value);
    fclose(to);
    return bytes;
}

static const struct {
    const char *why;
    struct text value;
    const char *header;
} headers[] = {
    { "plain", T("7 points"), "Subject: 7 points\r\n" },
    { "a line end is a blank", T("a\r\nBcc: b@c.example"), "Subject: a Bcc: b@c.example\r\n" },
    { "blanks are one, and none at the ends", T("\t a \0 b "), "Subject: a b\r\n" },
    { "not ASCII", T("Zo\xc3\xab"), "Subject: =?UTF-8?B?Wm/Dqw==?=\r\n" },
    { "what looks encoded", T("=?utf-8?q?=0D=0A?="), "Subject: =?UTF-8?B?PT91dGYtOD9xPz0wRD0wQT89?=\r\n" },
    { "empty", T(""), "Subject: \r\n" },
    { "folded at a blank", T("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb cccc"),
      "Subject: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n cccc\r\n" },
    { "encoded words never cut a character",
      T("\xe5\x90\x8d\xe5\x90\x8d\xe5\x90\x8d\xe5\x90\x8d\xe5\x90\x8d\xe5\x90\x8d\xe5\x90\x8d\xe5\x90\x8d\xe5"
        "\x90\x8d\xe5\x90\x8d\xe5"
        "\x90\x8d\xe5\x90\x8d\xe5\x90\x8d\xe5\x90\x8d!\xe5\x90\x8d"),
      "Subject: =?UTF-8?B?5ZCN5ZCN5ZCN5ZCN5ZCN5ZCN5ZCN5ZCN5ZCN5ZCN5ZCN5ZCN5ZCN5ZCN?=\r\n "
      "=?UTF-8?B?IeWQjQ==?=\r\n" },
};

Test(notify_letters, a_header_is_one_header)
{
    for (size_t at = 0; at < sizeof headers / sizeof headers[0]; at++) {
        char *found = header(headers[at].value);
        cr_expect_str_eq(found, headers[at].header, "%s: %s", headers[at].why, found);
        free(found);
    }
}

Test(notify_letters, a_text_is_cut_between_characters)
{
    const struct text word = TEXT("a\xc3\xabz");
    cr_expect_eq(text_cut(word, 9).size, 4);
    cr_expect_eq(text_cut(word, 3).size, 3);
    cr_expect_eq(text_cut(word, 2).size, 1);
    cr_expect_eq(text_cut(word, 0).size, 0);
}

static char *rendered(const char *html, const char *name)
{
    struct letter_kind kind = { .html = strdup(html) };
    struct letter_values values = { .of = { [FIELD_NAME] = text_of(name), [FIELD_POINTS] = TEXT("7") } };
    size_t size;
    char *text = letter_render(&kind, LETTER_HTML, &values, &size);
    cr_assert_eq(size, strlen(text));
    free(kind.html);
    return text;
}

static const struct {
    const char *why, *template, *name, *text;
} renderings[] = {
    { "a field", "Dear {{name}}!", "Ada", "Dear Ada!" },
    { "twice, side by side", "{{name}}{{name}}", "A", "AA" },
    { "markup is text", "<b>{{name}}</b>", "<b>&\"'", "<b>&lt;b&gt;&amp;&quot;&#39;</b>" },
    { "a field in a value is none", "{{name}}", "{{points}}", "{{points}}" },
    { "control characters are blanks", "{{name}}", "a\r\n\tb\x7f", "a   b " },
    { "nobody's name", "Dear {{name}}", NULL, "Dear customer" },
    { "no value", "[{{balance}}]", "A", "[]" },
};

Test(notify_letters, values_are_data)
{
    for (size_t at = 0; at < sizeof renderings / sizeof renderings[0]; at++) {
        char *text = rendered(renderings[at].template, renderings[at].name);
        cr_expect_str_eq(text, renderings[at].text, "%s: %s", renderings[at].why, text);
        free(text);
    }
}

static const struct {
    const char *why, *template;
    enum letter_trigger on;
    bool needs;
    const char *words; /* NULL: good */
} templates[] = {
    { "good", "{{name}} {{points}}\n{{unsubscribe_url}}", ON_POINTS_EARNED, true, NULL },
    { "no field at all", "Hello", ON_POINTS_EARNED, false, NULL },
    { "unknown", "\n\n{{nmae}}", ON_POINTS_EARNED, false,
      "t:4: a letter on points_earned has no field {{nmae}}" },
    { "of another trigger", "{{segment}}", ON_POINTS_EARNED, false,
      "has no field {{segment}}; it has name, program" },
    { "empty", "{{}}", ON_ENTERED, false, "has no field {{}}" },
    { "blanks", "{{ name }}", ON_ENTERED, false, "has no field {{ name }}" },
    { "not closed", "a {{name", ON_ENTERED, false, "t:2: {{ without }}" },
    { "closed on the next line", "a {{name\n}}", ON_ENTERED, false, "t:2: {{ without }}" },
    { "not opened", "\na name}}", ON_ENTERED, false, "t:3: }} without {{" },
    { "no way out", "{{name}}", ON_ENTERED, true, "{{unsubscribe_url}} is missing" },
};

Test(notify_letters, a_template_is_checked_before_the_first_letter)
{
    for (size_t at = 0; at < sizeof templates / sizeof templates[0]; at++) {
        struct ll_err err = { "" };
        enum ll_status status =
            letter_check("t", 2, templates[at].template, templates[at].on, templates[at].needs, &err);
        cr_expect_eq(status, templates[at].words == NULL ? LL_OK : LL_FATAL, "%s: %s", templates[at].why,
                     err.text);
        if (templates[at].words != NULL)
            cr_expect(strstr(err.text, templates[at].words) != NULL, "%s: %s", templates[at].why, err.text);
    }
}

Test(notify_letters, the_letters_of_the_house_are_good_and_answer_to_what_they_say)
{
    static struct letters letters;
    struct ll_err err = { "" };
    cr_assert_eq(letters_load(LENS_SOURCE_DIR "/deploy/letters", &letters, &err), LL_OK, "%s", err.text);
    static const struct {
        enum letter_trigger on;
        const char *segment;
        int reason;
        const char *name;
    } asked[] = {
        { ON_POINTS_EARNED, "", 0, "points_earned" },
        { ON_ENTERED, "HIGH_SPENDER", SEGMENT_PURCHASE, "high_spender" },
        { ON_ENTERED, "TIER_GOLD", SEGMENT_PURCHASE, "tier" },
        { ON_ENTERED, "RFM_CHAMPIONS", SEGMENT_TIME, "segment" },
        { ON_EXITED, "AT_RISK", SEGMENT_PURCHASE, "welcome_back" },
        { ON_EXITED, "AT_RISK", SEGMENT_POINTS_SPENT, NULL },
        { ON_EXITED, "TIER_GOLD", SEGMENT_TIME, NULL },
        { ON_ENTERED, "TIER", SEGMENT_TIME, NULL },
    };
    for (size_t at = 0; at < sizeof asked / sizeof asked[0]; at++) {
        const struct letter_kind *kind =
            letters_on(&letters, asked[at].on, text_of(asked[at].segment), asked[at].reason);
        cr_expect_str_eq(kind == NULL ? "none" : kind->name, asked[at].name == NULL ? "none" : asked[at].name,
                         "%s", asked[at].segment);
    }
    letters_done(&letters);
}

Test(notify_letters, segments_in_words)
{
    char words[32];
    cr_expect_str_eq(intake_segment_words(TEXT("RFM_LOYAL_CUSTOMERS"), words, sizeof words),
                     "loyal customers");
    cr_expect_str_eq(intake_segment_words(TEXT("TIER_GOLD"), words, sizeof words), "Gold");
    cr_expect_str_eq(intake_segment_words(TEXT("AT_RISK"), words, sizeof words), "at risk");
    cr_expect_str_eq(intake_segment_words(TEXT("RFM_ABCDEFGHIJ"), words, 5), "abcd");
}

Test(notify_letters, a_token_is_good_for_one_customer_and_one_list_and_cannot_be_changed)
{
    static struct token_key key = { "0123456789abcdef0123456789abcdef", 32 },
                            other = { "0123456789abcdef0123456789abcdeF", 32 };
    char token[TOKEN_SIZE], list[TOKEN_LIST_MAX + 1], customer[TOKEN_CUSTOMER_MAX + 1];
    cr_assert(token_write(&key, TEXT("offers"), TEXT("C|\xc3\xab 1"), token));
    cr_assert(token_read(&key, text_of(token), list, customer));
    cr_expect_str_eq(list, "offers");
    cr_expect_str_eq(customer, "C|\xc3\xab 1");
    cr_expect_eq(strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."),
                 strlen(token), "safe in a URL");
    cr_expect_not(token_read(&other, text_of(token), list, customer), "another key");
    size_t size = strlen(token), refused = 0;
    for (size_t at = 0; at < size; at++) {
        char kept = token[at];
        token[at] = kept == 'A' ? 'B' : 'A';
        refused += !token_read(&key, text_of(token), list, customer);
        token[at] = kept;
    }
    cr_expect_eq(refused, size, "every letter of it counts");
    for (uint32_t cut = 0; cut < size; cut++)
        cr_expect_not(token_read(&key, (struct text){ token, cut }, list, customer));
    char longest[TOKEN_CUSTOMER_MAX + 2];
    memset(longest, 'c', sizeof longest);
    cr_expect(
        token_write(&key, TEXT("points_points_xx"), (struct text){ longest, TOKEN_CUSTOMER_MAX }, token));
    cr_expect(token_read(&key, text_of(token), list, customer) && strlen(customer) == TOKEN_CUSTOMER_MAX);
    cr_expect_not(token_write(&key, TEXT("points"), (struct text){ longest, TOKEN_CUSTOMER_MAX + 1 }, token));
}

Test(notify_letters, a_key_that_others_can_read_is_refused_and_one_is_made_where_none_is)
{
    static struct token_key key, again;
    struct config config;
    struct ll_err err = { "" };
    char folder[] = "/tmp/notify-key.XXXXXX", path[64];
    config_defaults(&config);
    cr_assert(mkdtemp(folder) != NULL);
    snprintf(config.home, sizeof config.home, "%s", folder);
    snprintf(path, sizeof path, "%s/notify.key", folder);
    cr_expect_eq(token_key_load(&config, false, &key, &err), LL_FATAL, "a tool makes none");
    cr_assert_eq(token_key_load(&config, true, &key, &err), LL_OK, "%s", err.text);
    cr_assert_eq(token_key_load(&config, true, &again, &err), LL_OK, "%s", err.text);
    cr_expect(key.size == TOKEN_KEY_MIN && memcmp(&key, &again, sizeof key) == 0, "it stays");
    chmod(path, 0640);
    cr_expect_eq(token_key_load(&config, true, &key, &err), LL_FATAL);
    cr_expect(strstr(err.text, "chmod 600") != NULL, "%s", err.text);
    chmod(path, 0600);
    cr_assert_eq(truncate(path, TOKEN_KEY_MIN - 1), 0);
    cr_expect_eq(token_key_load(&config, true, &key, &err), LL_FATAL, "too short");
    unlink(path);
    rmdir(folder);
}

Test(notify_letters, a_known_token)
{
    /* python3: b = base64.urlsafe_b64encode; h = b(b"1|points|C1").rstrip(b"="); h + b"." + b(hmac.digest(bytes(range(32)), h, "sha256")).rstrip(b"=") */
    struct token_key key = { .size = 32 };
    char token[TOKEN_SIZE];
    for (unsigned char at = 0; at < 32; at++)
        key.bytes[at] = at;
    cr_assert(token_write(&key, TEXT("points"), TEXT("C1"), token));
    cr_expect_str_eq(token, "MXxwb2ludHN8QzE.ZI13Mnsdm4tRnnwcnfdtXIWzP8exuOnreEJ1eVZ_tv0", "%s", token);
}

static struct mime_letter letter_of(struct text text)
{
    return (struct mime_letter){ .id = TEXT("00112233445566778899aabbccddeeff"),
                                 .date_ms = INT64_C(1298896496789),
                                 .from_name = TEXT("Shop"),
                                 .from_address = TEXT("shop@mail.example"),
                                 .to_name = TEXT("Ada"),
                                 .to_address = TEXT("ada@mail.example"),
                                 .subject = TEXT("7 points"),
                                 .text = text,
                                 .html = TEXT("<p>x</p>\n"),
                                 .unsubscribe_url = TEXT("https://mail.example/u/t"),
                                 .list = TEXT("points") };
}

static const struct {
    const char *why;
    struct text text;
    const char *lines;
} bodies[] = {
    { "plain", T("a b\n"), "\r\n\r\na b\r\n\r\n--=_lens_" },
    { "no line end at the end", T("a"), "\r\n\r\na\r\n\r\n--" },
    { "a dot alone cannot end the letter", T("a\n.\nb\n"), "a\r\n=2E\r\nb\r\n" },
    { "a dot first", T("..a\n"), "\r\n=2E.a\r\n" },
    { "From first", T("From me\n"), "\r\n=46rom me\r\n" },
    { "the equals sign", T("1=1\n"), "\r\n1=3D1\r\n" },
    { "not ASCII", T("\xc3\xab\n"), "\r\n=C3=AB\r\n" },
    { "a blank at the end of a line", T("a \nb\t\n"), "\r\na=20\r\nb=09\r\n" },
    { "CR LF is one line end", T("a\r\nb\n"), "\r\na\r\nb\r\n" },
    { "CR alone is none", T("a\rb\n"), "\r\na=0Db\r\n" },
    { "a long line is cut",
      T("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b\n"),
      "\r\naaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa=\r\n=2Eb\r\n" },
};

Test(notify_letters, bodies_are_quoted)
{
    for (size_t at = 0; at < sizeof bodies / sizeof bodies[0]; at++) {
        const struct mime_letter letter = letter_of(bodies[at].text);
        size_t size;
        char *bytes = mime_write(&letter, &size);
        cr_expect_eq(size, strlen(bytes));
        cr_expect(strstr(bytes, bodies[at].lines) != NULL, "%s:\n%s", bodies[at].why, bytes);
        free(bytes);
    }
}

Test(notify_letters, the_headers_of_a_letter)
{
    static const char *const lines[] = {
        "Date: Mon, 28 Feb 2011 12:34:56 +0000\r\n",
        "From: \"Shop\" <shop@mail.example>\r\n",
        "To: \"Ada\" <ada@mail.example>\r\n",
        "\r\nSubject: 7 points\r\n",
        "\r\nMessage-ID: <00112233445566778899aabbccddeeff@mail.example>\r\n",
        "\r\nAuto-Submitted: auto-generated\r\n",
        "\r\nList-Id: <points.mail.example>\r\n",
        "\r\nList-Unsubscribe:\r\n <https://mail.example/u/t>\r\n",
        "\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    };
    const struct mime_letter letter = letter_of(TEXT("a\n"));
    size_t size;
    char *bytes = mime_write(&letter, &size);
    for (size_t at = 0; at < sizeof lines / sizeof lines[0]; at++)
        cr_expect(strstr(bytes, lines[at]) != NULL, "%s", lines[at]);
    free(bytes);
}
