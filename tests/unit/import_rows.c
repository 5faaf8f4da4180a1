/* From files to events and dead letters: the profiles that come along, and the ways a profile can be written. */
#include "import_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETAIL_HEAD "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"

static const struct {
    const char *why, *rows, *out;
} RETAIL[] = {
    { "a sale of two lines",
      "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n536365,71053,LANTERN,2,2010-12-01 08:26:00,3.3,17850.0,United Kingdom\n",
      "17850> SALE 536365 2010-12-01T08:26:00.000Z customer=17850 GBP from f.csv:2 [1 85123A 6x255-0=1530] [2 71053 2x330-0=660]\n" },
    { "a return: the event carries the absolute quantity, and names no original",
      "C536379,D,Discount,-1,2010-12-01 09:41:00,27.50,14527.0,United Kingdom\n",
      "14527> RETURN C536379 2010-12-01T09:41:00.000Z customer=14527 GBP from f.csv:2 [1 D 1x2750-0=2750]\n" },
    { "nobody's: the transaction is the key",
      "536365,71053,X,1,2010-12-01 08:26:00,3.39,,France\n", "536365> SALE 536365 2010-12-01T08:26:00.000Z GBP from f.csv:2 [1 71053 1x339-0=339]\n" },
    { "time is the earliest good line's, whichever comes first",
      "536365,A,X,1,2010-12-01 08:27:00,1.00,17850,UK\n536365,B,X,1,2010-12-01 08:26:00,1.00,17850,UK\n536365,C,X,1,2010-12-01 08:25:00,0.0,17850,UK\n",
      "dead f.csv:4 PRICE_NOT_POSITIVE\n17850> SALE 536365 2010-12-01T08:26:00.000Z customer=17850 GBP from f.csv:2 [1 A 1x100-0=100] [2 B 1x100-0=100]\n" },
    { "its lines need not be contiguous",
      "536365,A,X,1,2010-12-01 08:26:00,1.00,17850,UK\n536366,B,X,1,2010-12-01 08:27:00,1.00,17851,UK\n536365,C,X,1,2010-12-01 08:26:00,1.00,17850,UK\n",
      "17851> SALE 536366 2010-12-01T08:27:00.000Z customer=17851 GBP from f.csv:3 [1 B 1x100-0=100]\n"
      "17850> SALE 536365 2010-12-01T08:26:00.000Z customer=17850 GBP from f.csv:2 [1 A 1x100-0=100] [2 C 1x100-0=100]\n" },
    { "exact repeats of a line are kept",
      "536365,A,X,1,2010-12-01 08:26:00,1.00,17850,UK\n536365,A,X,1,2010-12-01 08:26:00,1.00,17850,UK\n",
      "17850> SALE 536365 2010-12-01T08:26:00.000Z customer=17850 GBP from f.csv:2 [1 A 1x100-0=100] [2 A 1x100-0=100]\n" },
    { "all that is wrong with a row is said", "536365,,X,-2,2010-12-01 08:26:00,0.0,17850,UK\n", "dead f.csv:2 SIGN_MISMATCH,PRODUCT_MISSING,PRICE_NOT_POSITIVE\n" },
    { "a return with a positive quantity", "C536365,A,X,2,2010-12-01 08:26:00,1.00,17850,UK\n", "dead f.csv:2 SIGN_MISMATCH\n" },
    { "quantity 0", "536365,A,X,0,2010-12-01 08:26:00,1.00,17850,UK\n", "dead f.csv:2 QUANTITY_NOT_POSITIVE\n" },
    { "half a quantity", "536365,A,X,1.5,2010-12-01 08:26:00,1.00,17850,UK\n", "dead f.csv:2 QUANTITY_SYNTAX\n" },
    { "a negative price", "536365,A,X,1,2010-12-01 08:26:00,-1.00,17850,UK\n", "dead f.csv:2 PRICE_NOT_POSITIVE\n" },
    { "half a penny", "536365,A,X,1,2010-12-01 08:26:00,1.005,17850,UK\n", "dead f.csv:2 AMOUNT_SCALE\n" },
    { "no price", "536365,A,X,1,2010-12-01 08:26:00,,17850,UK\n", "dead f.csv:2 AMOUNT_SYNTAX\n" },
    { "a line amount beyond 64 bits", "536365,A,X,9000000000000000000,2010-12-01 08:26:00,92.00,17850,UK\n", "dead f.csv:2 AMOUNT_OVERFLOW\n" },
    { "an invoice of another form", "A563185,B,Adjust bad debt,1,2010-12-01 08:26:00,1.00,,UK\n", "dead f.csv:2 ID_SYNTAX,TYPE_UNKNOWN\n" },
    { "seven digits", "5363651,A,X,1,2010-12-01 08:26:00,1.00,17850,UK\n", "dead f.csv:2 ID_SYNTAX,TYPE_UNKNOWN\n" },
    { "no invoice", ",A,X,1,2010-12-01 08:26:00,1.00,17850,UK\n", "dead f.csv:2 TYPE_UNKNOWN,TRANSACTION_ID_MISSING\n" },
    { "a customer of another form", "536365,A,X,1,2010-12-01 08:26:00,1.00,1785,UK\n", "dead f.csv:2 ID_SYNTAX\n" },
    { "an hour that does not exist", "536365,A,X,1,2011-03-27 01:30:00,1.00,17850,UK\n", "dead f.csv:2 TIME_SYNTAX\n" },
    { "a date alone", "536365,A,X,1,2010-12-01,1.00,17850,UK\n", "dead f.csv:2 TIME_SYNTAX\n" },
    { "two customers on one invoice: the first row's counts",
      "536365,A,X,1,2010-12-01 08:26:00,1.00,17850,UK\n536365,B,X,1,2010-12-01 08:26:00,1.00,17851,UK\n",
      "dead f.csv:3 GROUP_CONFLICT\n17850> SALE 536365 2010-12-01T08:26:00.000Z customer=17850 GBP from f.csv:2 [1 A 1x100-0=100]\n" },
    { "blanks around values are dropped", " 536365 , A ,X, 1 , 2010-12-01 08:26:00 , 1.00 , 17850.0 ,UK\n",
      "17850> SALE 536365 2010-12-01T08:26:00.000Z customer=17850 GBP from f.csv:2 [1 A 1x100-0=100]\n" },
    { "codes that differ in letter case are two products",
      "536365,85123a,X,1,2010-12-01 08:26:00,1.00,17850,UK\n536365,85123A,X,1,2010-12-01 08:26:00,1.00,17850,UK\n",
      "17850> SALE 536365 2010-12-01T08:26:00.000Z customer=17850 GBP from f.csv:2 [1 85123a 1x100-0=100] [2 85123A 1x100-0=100]\n" },
    { "bytes that are no UTF-8", "536365,A,caf\xe9,1,2010-12-01 08:26:00,1.00,17850,UK\n", "dead f.csv:2 TEXT_ENCODING\n" },
    { "a pound sign", "536365,A,\xc2\xa3 OFF,1,2010-12-01 08:26:00,1.00,17850,UK\n", "17850> SALE 536365 2010-12-01T08:26:00.000Z customer=17850 GBP from f.csv:2 [1 A 1x100-0=100]\n" },
    { "a control character in a value", "536365,A\x01,X,1,2010-12-01 08:26:00,1.00,17850,UK\n", "dead f.csv:2 TEXT_CONTROL\n" },
    { "a column too few", "536365,A,X,1,2010-12-01 08:26:00,1.00,17850\n", "dead f.csv:2 CSV_COLUMNS\n" },
    { "a forgotten quote, and its neighbour",
      "536365,A,\"X,1,2010-12-01 08:26:00,1.00,17850,UK\n536365,B,5\" BOX,1,2010-12-01 08:26:00,1.00,17850,UK\n536365,C,\"Y\",1,2010-12-01 08:26:00,1.00,17850,UK\n",
      "dead f.csv:2 CSV_SYNTAX\ndead f.csv:3 CSV_SYNTAX\n17850> SALE 536365 2010-12-01T08:26:00.000Z customer=17850 GBP from f.csv:4 [1 C 1x100-0=100]\n" },
    { "no line at all", "", "" },
};

static void expect_out(struct kit *kit, const char *why, enum ll_status status, const char *out)
{
    cr_expect_eq(status, LL_OK, "%s: %s", why, kit->err.text);
    cr_expect_str_eq(kit->out, out, "%s: is\n%s", why, kit->out);
    cr_expect_eq(kit->counts.lines_read, kit->counts.lines_good + kit->counts.lines_bad, "%s", why);
}

Test(import_rows, online_retail)
{
    for (size_t i = 0; i < sizeof RETAIL / sizeof *RETAIL; i++) {
        struct kit kit;
        char bytes[2048];
        kit_init(&kit);
        int size = snprintf(bytes, sizeof bytes, RETAIL_HEAD "%s", RETAIL[i].rows);
        kit_file(&kit, "f.csv", bytes, (size_t)size);
        expect_out(&kit, RETAIL[i].why, kit_import(&kit, "online_retail", NULL, 1), RETAIL[i].out);
        kit_done(&kit);
    }
}

Test(import_rows, columns_may_stand_in_any_order)
{
    struct kit kit;
    kit_init(&kit);
    static const char bytes[] = "Country,CustomerID,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo\n"
                                "UK,17850.0,2.55,2010-12-01 08:26:00,6,HEART,85123A,536365\n";
    kit_file(&kit, "f.csv", bytes, sizeof bytes - 1);
    expect_out(&kit, "reversed", kit_import(&kit, "online_retail", NULL, 100),
               "17850> SALE 536365 2010-12-01T08:26:00.000Z customer=17850 GBP from f.csv:2 [1 85123A 6x255-0=1530]\n");
    kit_done(&kit);
}

Test(import_rows, a_header_that_differs_is_said_before_anything_is_sent)
{
    static const struct {
        const char *header, *words;
    } cases[] = {
        { "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID\n", "column \"Country\" is not in its first line" },
        { "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country,More\n", "does not know column \"More\"" },
        { "InvoiceNo,InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n", "column \"InvoiceNo\" is more than once" },
        { "536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n", "column \"InvoiceNo\" is not in its first line" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct kit kit;
        kit_init(&kit);
        kit_file(&kit, "a.csv", RETAIL_HEAD "536365,A,X,1,2010-12-01 08:26:00,1.00,17850,UK\n", sizeof RETAIL_HEAD + 46);
        kit_file(&kit, "b.csv", cases[i].header, strlen(cases[i].header));
        cr_expect_eq(kit_import(&kit, "online_retail", NULL, 100), LL_FATAL);
        cr_expect(strstr(kit.err.text, cases[i].words) != NULL, "%s", kit.err.text);
        cr_expect_str_eq(kit.out, "");
        kit_done(&kit);
    }
}

/* The profile of one file with all that online_retail does not use. */
#define OTHER(head, more) \
    "source = \"till\";" head "files = ( { kind = \"transaction_lines\"; match = \"*.csv\";" \
    "header = [\"id\", \"kind\", \"of\", \"at\", \"store\", \"product\", \"n\", \"price\", \"off\", \"sum\", \"total\"];" \
    "fields = { transaction_id = { column = \"id\"; }; type = { column = \"kind\"; sale = \"S|sale\"; return = \"R\"; void = \"V\"; };" \
    "original_transaction_id = { column = \"of\"; }; event_time = { column = \"at\"; format = [\"%Y-%m-%dT%H:%M%z\", \"%d.%m.%Y %H:%M\"]; };" \
    "store_id = { column = \"store\"; required = true; }; product_id = { column = \"product\"; };" \
    "quantity = { column = \"n\"; }; unit_price = { column = \"price\"; decimal = \",\"; };" \
    "discount = { column = \"off\"; decimal = \",\"; default = \"0\"; }; amount = { column = \"sum\"; decimal = \",\"; };" \
    "total = { column = \"total\"; decimal = \",\"; }; " more "}; } );"
#define OTHER_HEAD "id;kind;of;at;store;product;n;price;off;sum;total\n"
#define SEMICOLON "delimiter = \";\"; "

static const struct {
    const char *why, *profile, *rows, *out;
} OTHERS[] = {
    { "another delimiter, decimal commas, two time formats, type by column, a total",
      OTHER(SEMICOLON, ""), "1;S;;2011-01-01T10:00+01:00;S1;P;2;1,50;0,50;2,50;2,50\n2;R;1;01.07.2011 10:00;S1;P;1;1,5;;1,50;1,50\n",
      "1> SALE 1 2011-01-01T09:00:00.000Z store=S1 GBP total=250 from f.csv:2 [1 P 2x150-50=250]\n"
      "1> RETURN 2 2011-07-01T09:00:00.000Z of=1 store=S1 GBP total=150 from f.csv:3 [1 P 1x150-0=150]\n" },
    { "a row takes its whole transaction along, the other transaction stays",
      OTHER(SEMICOLON, ""), "1;S;;2011-01-01T10:00Z;S1;P;2;1,50;;3,00;\n2;S;;2011-01-01T10:00Z;S1;P;1;1,00;;1,00;\n1;S;;2011-01-01T10:00Z;S1;Q;2;1,50;;x;\n",
      "2> SALE 2 2011-01-01T10:00:00.000Z store=S1 GBP from f.csv:3 [1 P 1x100-0=100]\ndead f.csv:2 AMOUNT_SYNTAX\ndead f.csv:4 AMOUNT_SYNTAX\n" },
    { "rows that contradict each other", OTHER(SEMICOLON, ""), "1;S;;2011-01-01T10:00Z;S1;P;2;1,50;;3,00;\n1;S;;2011-01-01T10:01Z;S1;P;2;1,50;;3,00;\n",
      "dead f.csv:2 GROUP_CONFLICT\ndead f.csv:3 GROUP_CONFLICT\n" },
    { "a type that is none, a store that is missing", OTHER(SEMICOLON, ""), "1;X;;2011-01-01T10:00Z;;P;2;1,50;;3,00;\n",
      "dead f.csv:2 TYPE_UNKNOWN,STORE_MISSING\n" },
    { "what can be said goes on: no product, negative numbers, a wrong total", OTHER(SEMICOLON, ""), "1;sale;;2011-01-01T10:00Z;S1;;-2;-1,50;-1;9,99;0,01\n",
      "1> SALE 1 2011-01-01T10:00:00.000Z store=S1 GBP total=1 from f.csv:2 [1  -2x-150--100=999]\n" },
    { "no minor digits", OTHER(SEMICOLON "currency = \"JPY\"; ", ""), "1;S;;2011-01-01T10:00Z;S1;P;2;150;;300;300\n1;S;;2011-01-01T10:00Z;S1;P;2;1,5;;3;300\n",
      "dead f.csv:2 AMOUNT_SCALE\ndead f.csv:3 AMOUNT_SCALE\n" },
    { "latin-1 becomes UTF-8", OTHER(SEMICOLON "encoding = \"latin-1\"; ", ""), "\xe9;S;;2011-01-01T10:00Z;S1;P;2;1,50;;3,00;\n",
      "\xc3\xa9> SALE \xc3\xa9 2011-01-01T10:00:00.000Z store=S1 GBP from f.csv:2 [1 P 2x150-0=300]\n" },
    { "a byte that windows-1252 does not have", OTHER(SEMICOLON "encoding = \"windows-1252\"; ", ""), "1;S;;2011-01-01T10:00Z;S1;\x81;2;1,50;;3,00;\n",
      "dead f.csv:2 TEXT_ENCODING\n" },
    { "another time zone", OTHER(SEMICOLON "time_zone = \"America/New_York\"; ", ""), "1;S;;01.07.2011 10:00;S1;P;2;1,50;;3,00;\n",
      "1> SALE 1 2011-07-01T14:00:00.000Z store=S1 GBP from f.csv:2 [1 P 2x150-0=300]\n" },
    { "constants and a channel", OTHER(SEMICOLON, "channel = { value = \"web\"; }; promotion_id = { value = \"X\"; };"), "1;S;;2011-01-01T10:00Z;S1;P;2;1,50;;3,00;\n",
      "1> SALE 1 2011-01-01T10:00:00.000Z store=S1 GBP channel=web from f.csv:2 [1 P 2x150-0=300 promotion=X]\n" },
    { "rows too far apart: the transaction was closed, and a row of it comes",
      OTHER(SEMICOLON "open_rows = 2; ", ""),
      "1;S;;2011-01-01T10:00Z;S1;P;2;1,50;;3,00;\n2;S;;2011-01-01T10:00Z;S1;P;2;1,50;;3,00;\n3;S;;2011-01-01T10:00Z;S1;P;2;1,50;;3,00;\n1;S;;2011-01-01T10:00Z;S1;Q;2;1,50;;3,00;\n",
      "1> SALE 1 2011-01-01T10:00:00.000Z store=S1 GBP from f.csv:2 [1 P 2x150-0=300]\ndead f.csv:5 GROUP_CONFLICT\n"
      "2> SALE 2 2011-01-01T10:00:00.000Z store=S1 GBP from f.csv:3 [1 P 2x150-0=300]\n3> SALE 3 2011-01-01T10:00:00.000Z store=S1 GBP from f.csv:4 [1 P 2x150-0=300]\n" },
};

Test(import_rows, other_profiles)
{
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
        struct kit kit;
        char bytes[2048];
        kit_init(&kit);
        int size = snprintf(bytes, sizeof bytes, OTHER_HEAD "%s", OTHERS[i].rows);
        kit_file(&kit, "f.csv", bytes, (size_t)size);
        expect_out(&kit, OTHERS[i].why, kit_import(&kit, NULL, OTHERS[i].profile, 7), OTHERS[i].out);
        kit_done(&kit);
    }
}

#define SALES_HEAD "transaction_id,type,original_transaction_id,event_time,store_id,customer_id,currency,total,channel\n"
#define LINES_HEAD "transaction_id,line_no,product_id,quantity,unit_price,discount,amount,promotion_id\n"
#define SALE(id) id ",SALE,,2024-03-01T10:00:00.000Z,S1,C1,GBP,3.00,store\n"
#define LINE(id, no) id "," no ",P1,2,1.50,0.00,3.00,\n"
#define SALE_OUT(id, at) "C1> SALE " id " 2024-03-01T10:00:00.000Z store=S1 customer=C1 GBP total=300 channel=store from sales.csv:" at
#define LINE_OUT(no) " [" no " P1 2x150-0=300]"

static const struct {
    const char *why, *sales, *lines, *out;
} PAIRED[] = {
    { "heads and lines", SALE("T1") SALE("T2"), LINE("T1", "1") LINE("T1", "2") LINE("T2", "1"),
      SALE_OUT("T1", "2") LINE_OUT("1") LINE_OUT("2") "\n" SALE_OUT("T2", "3") LINE_OUT("1") "\n" },
    { "lines in another order than heads", SALE("T1") SALE("T2"), LINE("T2", "1") LINE("T1", "1"),
      SALE_OUT("T2", "3") LINE_OUT("1") "\n" SALE_OUT("T1", "2") LINE_OUT("1") "\n" },
    { "a line without a head", SALE("T1"), LINE("T1", "1") LINE("T9", "1") LINE("T9", "2"),
      SALE_OUT("T1", "2") LINE_OUT("1") "\ndead sale_lines.csv:3 HEADER_MISSING\ndead sale_lines.csv:4 HEADER_MISSING\n" },
    { "a head without a line goes on, to be judged", SALE("T1"), "", SALE_OUT("T1", "2") "\n" },
    { "a bad head takes its lines along", "T1,SWAP,,2024-03-01T10:00:00.000Z,S1,C1,GBP,3.00,store\n", LINE("T1", "1"),
      "dead sales.csv:2 TYPE_UNKNOWN\ndead sale_lines.csv:2 TYPE_UNKNOWN\n" },
    { "a bad line takes its head along", SALE("T1"), LINE("T1", "1") "T1,2,P1,1.5,1.50,0.00,3.00,\n",
      "dead sales.csv:2 QUANTITY_SYNTAX\ndead sale_lines.csv:2 QUANTITY_SYNTAX\ndead sale_lines.csv:3 QUANTITY_SYNTAX\n" },
    { "a head that cannot be read leaves its lines alone", "T1,SALE\n", LINE("T1", "1"), "dead sales.csv:2 CSV_COLUMNS\ndead sale_lines.csv:2 HEADER_MISSING\n" },
    { "a line that cannot be read is missed by the total, which validate sees", SALE("T1"), LINE("T1", "1") "T1,2\n",
      "dead sale_lines.csv:3 CSV_COLUMNS\n" SALE_OUT("T1", "2") LINE_OUT("1") "\n" },
    { "two lines of one number go on, to be judged", SALE("T1"), LINE("T1", "1") LINE("T1", "1"), SALE_OUT("T1", "2") LINE_OUT("1") LINE_OUT("1") "\n" },
    { "the same sale twice in a row", SALE("T1") SALE("T1"), LINE("T1", "1") LINE("T1", "2") LINE("T1", "1") LINE("T1", "2"),
      SALE_OUT("T1", "2") LINE_OUT("1") LINE_OUT("2") "\n" SALE_OUT("T1", "3") LINE_OUT("1") LINE_OUT("2") "\n" },
    { "the same sale twice, apart, and the second time with a line more", SALE("T1") SALE("T2") SALE("T1"),
      LINE("T1", "1") LINE("T2", "1") LINE("T1", "1") LINE("T1", "2"),
      SALE_OUT("T2", "3") LINE_OUT("1") "\n" SALE_OUT("T1", "2") LINE_OUT("1") "\n" SALE_OUT("T1", "4") LINE_OUT("1") LINE_OUT("2") "\n" },
    { "twice, its lines mixed: the k-th of a number is of the k-th sale", SALE("T1") SALE("T1") SALE("T2"),
      LINE("T1", "1") LINE("T2", "1") LINE("T1", "2") LINE("T2", "2") LINE("T1", "1") LINE("T1", "2"),
      SALE_OUT("T2", "4") LINE_OUT("1") LINE_OUT("2") "\n" SALE_OUT("T1", "2") LINE_OUT("1") LINE_OUT("2") "\n"
      SALE_OUT("T1", "3") LINE_OUT("1") LINE_OUT("2") "\n" },
    { "sales without an id pair with their lines, block by block", SALE("") SALE("T2") SALE(""), LINE("", "1") LINE("T2", "1") LINE("", "1") LINE("", "2"),
      SALE_OUT("T2", "3") LINE_OUT("1") "\n" SALE_OUT("", "2") LINE_OUT("1") "\n" SALE_OUT("", "4") LINE_OUT("1") LINE_OUT("2") "\n" },
    { "no time at all goes on, to be judged", "T1,VOID,T0,,,,,,\n", "", "T0> VOID T1 1970-01-01T00:00:00.000Z of=T0  from sales.csv:2\n" },
    { "local time where no zone is said", "T1,SALE,,2024-07-01T10:00:00,,,GBP,,\n", LINE("T1", "1"),
      "T1> SALE T1 2024-07-01T09:00:00.000Z GBP from sales.csv:2" LINE_OUT("1") "\n" },
};

Test(import_rows, header_lines)
{
    for (size_t i = 0; i < sizeof PAIRED / sizeof *PAIRED; i++) {
        struct kit kit;
        char bytes[2048];
        kit_init(&kit);
        int size = snprintf(bytes, sizeof bytes, SALES_HEAD "%s", PAIRED[i].sales);
        kit_file(&kit, "sales.csv", bytes, (size_t)size);
        size = snprintf(bytes, sizeof bytes, LINES_HEAD "%s", PAIRED[i].lines);
        kit_file(&kit, "sale_lines.csv", bytes, (size_t)size);
        enum ll_status status = kit_import(&kit, "header_lines", NULL, 3);
        /* Which of two transactions is finished first depends on where the rows stand in the files; what comes out does not. */
        expect_out(&kit, PAIRED[i].why, status, PAIRED[i].out);
        kit_done(&kit);
    }
}

Test(import_rows, references_come_first_and_are_settled_before_the_sales)
{
    struct kit kit;
    kit_init(&kit);
#define PUT(name, text) kit_file(&kit, name, text, sizeof(text) - 1)
    PUT("stores.csv", "store_id,name,city,opened,closed,effective_from\nS1,One,Leeds,2020-01-01,,\n,,,,,\nS2,Two,York,2020-13-01,,\n");
    PUT("products.csv", "product_id,name,category,brand,unit_price,active,effective_from\nP1,\"Tea, black\",drinks,,1.50,true,2024-01-01\nP2,,,,,no,\nP3,,,,,maybe,\n");
    PUT("customers.csv", "customer_id,name,email,phone,language,country,consent_marketing,erased,effective_from\n"
                         "C1,Ann,a@b.uk,,en,GB,true,false,\nC2,,,,,,,,\n");
    PUT("promotions.csv", "promotion_id,name,start,end,product_ids,categories,effective_from\nX1,Spring,2024-03-01,2024-03-31,P1; P2;;,drinks,\nX2,,,2024-01-01,,,\n");
    PUT("inventory.csv", "store_id,product_id,event_time,on_hand\nS1,P1,2024-03-01,12\n");
    PUT("sales.csv", SALES_HEAD SALE("T1"));
    PUT("sale_lines.csv", LINES_HEAD LINE("T1", "1"));
    PUT("truth.csv", "anything\n1\n");
    expect_out(&kit, "all kinds", kit_import(&kit, "header_lines", NULL, 5),
               "S1> store S1 Leeds open=18262 closed=-1\n> store   open=-1 closed=-1\ndead stores.csv:4 TIME_SYNTAX of stores\n"
               "P1> product P1 drinks price=150 active from=1704067200000\nP2> product P2  price=-1 gone from=0\ndead products.csv:4 VALUE_SYNTAX of products\n"
               "C1> customer C1 from=0 name=Ann email=a@b.uk language=en country=GB consent\nC2> customer C2 from=0\n"
               "X1> promotion X1 19783..19813 products P1 P2 categories drinks\ndead promotions.csv:3 TIME_SYNTAX of promotions\n"
               "P1> inventory S1 P1 12\n" SALE_OUT("T1", "2") LINE_OUT("1") "\n");
    cr_expect_eq(kit.settled, 1);
    kit_done(&kit);
}

Test(import_rows, files_that_do_not_belong_together)
{
    struct kit kit;
    kit_init(&kit);
    cr_expect_eq(kit_import(&kit, "header_lines", NULL, 5), LL_FATAL);
    cr_expect(strstr(kit.err.text, "no file there has a name") != NULL, "%s", kit.err.text);
    PUT("sales.csv", SALES_HEAD);
    cr_expect_eq(kit_import(&kit, "header_lines", NULL, 5), LL_FATAL);
    cr_expect(strstr(kit.err.text, "only one of the two is there") != NULL, "%s", kit.err.text);
    kit_done(&kit);
}

/* One sale of so many lines under the header_lines profile. */
static void many_lines(struct kit *kit, int count)
{
    size_t size = 0, capacity = 128 + (size_t)count * 64;
    char *bytes = malloc(capacity);
    size += (size_t)snprintf(bytes, capacity, LINES_HEAD);
    for (int i = 1; i <= count; i++)
        size += (size_t)snprintf(bytes + size, capacity - size, "T1,%d,P1,2,1.50,0.00,3.00,\n", i);
    kit_file(kit, "sale_lines.csv", bytes, size);
    free(bytes);
    static const char head[] = SALES_HEAD SALE("T1");
    kit_file(kit, "sales.csv", head, sizeof head - 1);
}

Test(import_rows, a_transaction_has_a_limit)
{
    struct kit kit;
    kit_init(&kit);
    many_lines(&kit, EVENT_LINES_MAX);
    cr_expect_eq(kit_import(&kit, "header_lines", NULL, 100), LL_OK, "%s", kit.err.text);
    cr_expect_eq(kit.counts.lines_bad, 0);
    many_lines(&kit, EVENT_LINES_MAX + 1);
    cr_expect_eq(kit_import(&kit, "header_lines", NULL, 100), LL_OK, "%s", kit.err.text);
    cr_expect_eq(kit.counts.lines_bad, EVENT_LINES_MAX + 2);
    cr_expect_eq(kit.counts.bad_by_code[CODE_DECODE_LIMIT], EVENT_LINES_MAX + 2);
    cr_expect_eq(kit.counts.events[TOPIC_TRANSACTIONS], 0);
    kit_done(&kit);
}

/* header_lines with so few rows in memory. */
static enum ll_status import_narrow(struct kit *kit, int open_rows)
{
    static char text[1 << 14];
    FILE *file = fopen(LENS_SOURCE_DIR "/deploy/profiles/header_lines.conf", "r");
    cr_assert(file != NULL);
    int used = snprintf(text, sizeof text, "open_rows = %d;\n", open_rows);
    size_t size = fread(text + used, 1, sizeof text - (size_t)used - 1, file);
    text[(size_t)used + size] = '\0';
    fclose(file);
    return kit_import(kit, NULL, text, 1);
}

Test(import_rows, heads_and_lines_too_far_apart)
{
    struct kit kit;
    kit_init(&kit);
    PUT("sales.csv", SALES_HEAD SALE("T1") SALE("T2") SALE("T3"));
    PUT("sale_lines.csv", LINES_HEAD LINE("T2", "1") LINE("T3", "1") LINE("T1", "1"));
    expect_out(&kit, "the head was closed without its line", import_narrow(&kit, 2),
               SALE_OUT("T1", "2") "\n" SALE_OUT("T2", "3") LINE_OUT("1") "\n" SALE_OUT("T3", "4") LINE_OUT("1") "\n"
               "dead sale_lines.csv:4 GROUP_CONFLICT\n");
    kit_done(&kit);
}

/* The order of the outputs is what a mark counts by: it must not depend on how a run is cut into steps. */
Test(import_rows, the_order_of_outputs_is_the_files_alone)
{
    struct kit a, b;
    kit_init(&a);
    kit_init(&b);
    for (int which = 0; which < 2; which++) {
        struct kit *kit = which == 0 ? &a : &b;
        FILE *file = fopen(kit_file(kit, "f.csv", RETAIL_HEAD, sizeof RETAIL_HEAD - 1), "ab");
        for (int i = 0; i < 3000; i++)
            fprintf(file, "%06d,P%d,X,%d,2010-12-01 08:26:00,1.00,17850,UK\n", 500000 + (i * 7919) % 400, i, i % 11 - 1);
        fclose(file);
        cr_expect_eq(kit_import(kit, "online_retail", NULL, which == 0 ? 1 : 977), LL_OK, "%s", kit->err.text);
    }
    cr_expect(a.out_used > 10000);
    cr_expect_str_eq(a.out, b.out);
    kit_done(&a);
    kit_done(&b);
}

/* Whatever the files hold, each row comes out once, as part of an event or as a dead letter. */
Test(import_rows, any_bytes_are_accounted_for)
{
    static const char *const pieces[] = { "T1", "T2", "SALE", "RETURN", ",", ",", ",", ",", ",", ",", "\n", "\n", "1", "2.50", "-3", "\"", "\"\"",
                                          "\xc3\xa9", "\xe9", "\x01", " ", "2024-03-01T10:00:00Z", "GBP", "\r", "99999999999999999999",
                                          "\n" SALE("T3"), "\n" LINE("T3", "1"), "\n" SALE("T1"), "\n" LINE("T1", "7") };
    uint64_t state = 88172645463325252u;
    for (int round = 0; round < 60; round++) {
        struct kit kit;
        kit_init(&kit);
        for (int which = 0; which < 2; which++) {
            char bytes[20000];
            size_t size = (size_t)snprintf(bytes, sizeof bytes, "%s", which == 0 ? SALES_HEAD : LINES_HEAD);
            while (size < sizeof bytes - 200) {
                state ^= state << 13, state ^= state >> 7, state ^= state << 17;
                const char *piece = pieces[(state >> 20) % (sizeof pieces / sizeof *pieces)];
                size += (size_t)snprintf(bytes + size, sizeof bytes - size, "%s", piece);
                if ((state >> 40) % 500 == 0)
                    bytes[size++] = '\0';
            }
            kit_file(&kit, which == 0 ? "sales.csv" : "sale_lines.csv", bytes, size);
        }
        cr_assert_eq(import_narrow(&kit, round % 3 == 0 ? 3 : 100000), LL_OK, "round %d: %s", round, kit.err.text);
        cr_assert(kit.counts.lines_read > 500 && kit.counts.lines_read == kit.counts.lines_good + kit.counts.lines_bad, "round %d", round);
        kit_done(&kit);
    }
}

Test(import_rows, a_sink_that_fails_ends_the_run)
{
    struct kit kit;
    kit_init(&kit);
    PUT("f.csv", RETAIL_HEAD "536365,A,X,1,2010-12-01 08:26:00,1.00,17850,UK\n536366,A,X,0,2010-12-01 08:26:00,1.00,17850,UK\n");
    kit.fail_at = 2;
    cr_expect_eq(kit_import(&kit, "online_retail", NULL, 5), LL_RETRY);
    cr_expect_str_eq(kit.err.text, "the sink failed");
    kit_done(&kit);
}
