#include "producers/import/money.h"

#include <stddef.h>
#include <string.h>

/* All codes of list one that are money, by their number of decimal places; funds and metals (XAU, XDR, ...)
 * are not. */
static const char places_0[] = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF ";
static const char places_2[] =
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF "
    "CNY "
    "COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR "
    "ILS "
    "INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN "
    "MYR "
    "MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS "
    "SRD "
    "SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD YER ZAR ZMW ZWL ";
static const char places_3[] = "BHD IQD JOD KWD LYD OMR TND ";

static bool lists(const char *list, struct text code)
{
    for (const char *at = list; *at != '\0'; at += 4)
        if (memcmp(at, code.data, 3) == 0)
            return true;
    return false;
}

int money_digits(struct text currency)
{
    if (currency.size != 3)
        return -1;
    if (lists(places_2, currency))
        return 2;
    if (lists(places_0, currency))
        return 0;
    return lists(places_3, currency) ? 3 : -1;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Sums up negatively, since INT64_MIN has no positive twin. */
static bool push_digit(int64_t *sum, char digit)
{
    return !__builtin_mul_overflow(*sum, INT64_C(10), sum) &&
           !__builtin_sub_overflow(*sum, (int64_t)(digit - '0'), sum);
}

enum code money_parse(struct text text, char mark, int digits, int64_t *ret_minor)
{
    const char *at = text.data, *end = text.data + text.size;
    bool negative = false, fits = true;
    if (at < end && (*at == '-' || *at == '+'))
        negative = *at++ == '-';
    const char *whole = at;
    int64_t sum = 0;
    for (; at < end && is_digit(*at); at++)
        fits = push_digit(&sum, *at) && fits;
    if (at == whole)
        return CODE_AMOUNT_SYNTAX;
    ptrdiff_t places = 0;
    if (at < end && *at == mark) {
        const char *fraction = ++at;
        for (; at < end && is_digit(*at); at++)
            fits = (at - fraction >= digits || push_digit(&sum, *at)) && fits;
        places = at - fraction;
        if (places == 0)
            return CODE_AMOUNT_SYNTAX;
    }
    if (at != end)
        return CODE_AMOUNT_SYNTAX;
    if (places > digits)
        return CODE_AMOUNT_SCALE;
    for (; places < digits; places++)
        fits = push_digit(&sum, '0') && fits;
    if (!fits || (!negative && sum == INT64_MIN))
        return CODE_AMOUNT_OVERFLOW;
    *ret_minor = negative ? sum : -sum;
    return CODE_NONE;
}

bool money_parse_whole(struct text text, int64_t *ret)
{
    const char *at = text.data, *end = text.data + text.size;
    bool negative = false;
    if (at < end && (*at == '-' || *at == '+'))
        negative = *at++ == '-';
    if (at == end)
        return false;
    int64_t sum = 0;
    for (; at < end; at++)
        if (!is_digit(*at) || !push_digit(&sum, *at))
            return false;
    if (!negative && sum == INT64_MIN)
        return false;
    *ret = negative ? sum : -sum;
    return true;
}
