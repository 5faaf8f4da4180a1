/* Profiles: what is refused, with file and line. */
#include "import_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define HEAD "source = \"s\";\n"
#define COLUMNS "header = [\"id\", \"at\", \"p\", \"q\", \"u\", \"a\"];\n"
#define TYPE "type = { value = \"SALE\"; sale = \"SALE\"; }; "
#define TIME "event_time = { column = \"at\"; format = \"%Y-%m-%d\"; }; "
#define ITEM "product_id = { column = \"p\"; }; quantity = { column = \"q\"; }; unit_price = { column = \"u\"; }; amount = { column = \"a\"; }; "
#define ID "transaction_id = { column = \"id\"; }; "
#define FILES(body) "files = ( { kind = \"transaction_lines\"; match = \"*.csv\"; " body " } );\n"
#define FIELDS(fields) HEAD FILES(COLUMNS "fields = { " fields " };")

static const struct {
    const char *why, *profile, *words;
} REFUSED[] = {
    { "nothing", "", "p.conf:1: source is missing" },
    { "not libconfig", HEAD "files = (", "p.conf:2: syntax error" },
    { "no files", HEAD, "files is missing" },
    { "files as a group", HEAD "files = { };", "p.conf:2: files must be a list" },
    { "no file", HEAD "files = ();", "p.conf:2: files must be a list" },
    { "a file that is a number", HEAD "files = ( 1 );", "p.conf:2: a file must be a group" },
    { "unknown key", HEAD "colour = 1;", "p.conf:2: a profile has no key \"colour\"" },
    { "a number for a text", "source = 7;", "p.conf:1: source must be a text" },
    { "a source that is too long", "source = \"0123456789012345678901234567890123456789012345678901234567890123456789\";",
      "p.conf:1: source has more than 63 characters" },
    { "no such currency", HEAD "currency = \"ZZZ\";", "p.conf:2: currency \"ZZZ\" is not an ISO 4217 code" },
    { "no such zone", HEAD "time_zone = \"Mars/Olympus\";", "p.conf:2: time zone \"Mars/Olympus\"" },
    { "no such encoding", HEAD "encoding = \"ebcdic\";", "p.conf:2: encoding is \"ebcdic\"; it must be one of utf-8, latin-1, windows-1252" },
    { "a delimiter of two", HEAD "delimiter = \"::\";", "p.conf:2: delimiter must be one character" },
    { "a quote as delimiter", HEAD "delimiter = \"\\\"\";", "p.conf:2: delimiter cannot be a quote" },
    { "line_breaks as text", HEAD "line_breaks = \"no\";", "p.conf:2: line_breaks must be true or false" },
    { "no such way with bad rows", HEAD "bad_row = \"ignore\";", "p.conf:2: bad_row is \"ignore\"; it must be one of reject_line, reject_transaction" },
    { "open_rows as text", HEAD "open_rows = \"many\";", "p.conf:2: open_rows must be a whole number" },
    { "no open row", HEAD "open_rows = 0;", "p.conf:2: open_rows is 0; it must be from 1" },
    { "a number that 32 bits would cut to 1", HEAD "open_rows = 4294967297;", "p.conf:2: open_rows is 4294967297; it must be from 1" },
    { "a file without a header", HEAD "files = ( { kind = \"sales\"; match = \"x\"; fields = { }; } );", "a file needs kind, match, header and fields" },
    { "no such kind", HEAD "files = ( { kind = \"tills\"; match = \"x\"; header = [\"a\"]; fields = { }; } );", "p.conf:2: kind \"tills\" is not one of" },
    { "unknown key of a file", HEAD "files = ( { kind = \"sales\"; path = \"x\"; } );", "p.conf:2: a file has no key \"path\"" },
    { "another topic", HEAD FILES("topic = \"customers\"; " COLUMNS "fields = { };"), "go to topic \"transactions\"" },
    { "a column named twice", HEAD FILES("header = [\"a\", \"b\", \"a\"]; fields = { };"), "column \"a\" is named twice" },
    { "no column", HEAD FILES("header = []; fields = { };"), "header must be a list of 1 to 64" },
    { "a field of another kind of file", FIELDS("email = { column = \"id\"; };"), "p.conf:3: transaction_lines have no field \"email\"" },
    { "no such field", FIELDS("colour = { column = \"id\"; };"), "have no field \"colour\"" },
    { "a field that is a text", FIELDS("transaction_id = \"id\";"), "field transaction_id must be a group" },
    { "a field from nowhere", FIELDS("transaction_id = { };"), "transaction_id needs a column or a value" },
    { "a column that is not there", FIELDS("transaction_id = { column = \"nr\"; };"), "column \"nr\" is not in the header" },
    { "two origins", FIELDS("transaction_id = { column = \"id\"; value = \"1\"; };"), "choose one" },
    { "unknown key of a field", FIELDS("transaction_id = { column = \"id\"; regex = \".\"; };"), "field transaction_id has no key \"regex\"" },
    { "a key of another type", FIELDS("transaction_id = { column = \"id\"; positive = true; };"), "key \"positive\" makes no sense for field transaction_id" },
    { "a flag as text", FIELDS("quantity = { column = \"q\"; positive = \"yes\"; };"), "positive must be true or false" },
    { "an open bracket", FIELDS("transaction_id = { column = \"id\"; pattern = \"[0-9\"; };"), "pattern \"[0-9\" cannot be read" },
    { "a time without a format", FIELDS("event_time = { column = \"at\"; };"), "event_time needs a format" },
    { "a format without a year", FIELDS("event_time = { column = \"at\"; format = \"%d.%m.\"; };"), "format \"%d.%m.\" cannot be used: it must name a year" },
    { "a format that does not exist", FIELDS("event_time = { column = \"at\"; format = [\"%Y-%m-%d\", \"%Q\"]; };"), "format \"%Q\" cannot be used" },
    { "a type without patterns", FIELDS("type = { column = \"id\"; };"), "type needs at least one of sale, return, void" },
    { "a sign that is none", FIELDS("quantity = { column = \"q\"; sign = { sale = \"plus\"; }; };"), "sale is \"plus\"; it must be one of any, +, -" },
    { "a sign of something else", FIELDS("quantity = { column = \"q\"; sign = { refund = \"-\"; }; };"), "sign has no key \"refund\"" },
    { "sign and positive", FIELDS("quantity = { column = \"q\"; positive = true; sign = { sale = \"+\"; }; };"), "contradict each other" },
    { "a computed price", FIELDS("unit_price = { computed = true; };"), "only amount can be computed" },
    { "rows of a customer", FIELDS("customer_id = { column = \"id\"; rows = \"same\"; };"), "makes no sense for field customer_id" },
    { "a decimal point that is none", FIELDS("amount = { column = \"a\"; decimal = \"'\"; };"), "decimal must be" },
    { "no product", FIELDS(ID TYPE TIME "quantity = { column = \"q\"; };"), "needs the field product_id" },
    { "sales without lines", HEAD "files = ( { kind = \"sales\"; match = \"s\"; " COLUMNS "fields = { " ID TYPE TIME "}; } );", "belong together" },
    { "two of a kind", HEAD "files = ( { kind = \"stores\"; match = \"s\"; header = [\"id\"]; fields = { store_id = { column = \"id\"; }; }; },\n"
      "{ kind = \"stores\"; match = \"t\"; header = [\"id\"]; fields = { store_id = { column = \"id\"; }; }; } );", "p.conf:3: there is another file of kind stores" },
    { "signs where no type is", HEAD "files = ( { kind = \"sale_lines\"; match = \"s\"; " COLUMNS "fields = { " ID
      "quantity = { column = \"q\"; sign = { sale = \"+\"; }; }; }; } );", "sign needs the transaction's type" },
};

Test(import_profile, what_is_wrong_is_said_with_file_and_line)
{
    struct kit kit;
    kit_init(&kit);
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        struct profile *profile = NULL;
        cr_expect_eq(kit_profile(&kit, REFUSED[i].profile, &profile), LL_FATAL, "%s", REFUSED[i].why);
        cr_expect(strstr(kit.err.text, REFUSED[i].words) != NULL, "%s: %s", REFUSED[i].why, kit.err.text);
        cr_expect(strstr(kit.err.text, "p.conf:") != NULL, "%s: %s", REFUSED[i].why, kit.err.text);
    }
    kit_done(&kit);
}

Test(import_profile, the_profiles_that_come_along_are_good)
{
    static const char *const names[] = { "online_retail", "header_lines" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[256];
        struct profile *profile;
        struct ll_err err = { "" };
        snprintf(path, sizeof path, LENS_SOURCE_DIR "/deploy/profiles/%s.conf", names[i]);
        cr_assert_eq(profile_load(path, "EUR", "UTC", &profile, &err), LL_OK, "%s", err.text);
        cr_expect_str_eq(profile->source, names[i]);
        profile_free(profile);
    }
}

Test(import_profile, what_it_does_not_say_is_the_programs)
{
    struct kit kit;
    struct profile *profile;
    kit_init(&kit);
    cr_assert_eq(kit_profile(&kit, FIELDS(ID TYPE TIME ITEM), &profile), LL_OK, "%s", kit.err.text);
    cr_expect_str_eq(profile->currency, "GBP");
    cr_expect_str_eq(profile->time_zone, "Europe/London");
    cr_expect_eq(profile->money_digits, 2);
    cr_expect(profile->reject_transaction);
    cr_expect_eq(profile->files[0].topic, TOPIC_TRANSACTIONS);
    profile_free(profile);
    kit_done(&kit);
}

Test(import_profile, a_profile_that_is_not_there)
{
    struct profile *profile;
    struct ll_err err;
    cr_expect_eq(profile_load("/nowhere/x.conf", "GBP", "UTC", &profile, &err), LL_FATAL);
    cr_expect(strstr(err.text, "/nowhere/x.conf cannot be read: No such file") != NULL, "%s", err.text);
}
