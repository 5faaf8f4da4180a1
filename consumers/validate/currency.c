#include "consumers/validate/quality.h"

#include <string.h>

/* ISO 4217, list one (active codes of currencies and funds) as of 2024. */
static const char CODES[] = "AEDAFNALLAMDANGAOAARSAUDAWGAZNBAMBBDBDTBGNBHDBIFBMDBNDBOBBOVBRLBSDBTNBWPBYNBZDCA"
                            "DCDFCHECHFCHWCLFCLPCNYCOPCOU"
                            "CRCCUPCVECZKDJFDKKDOPDZDEGPERNETBEURFJDFKPGBPGELGHSGIPGMDGNFGTQGYDHKDHNLHTGHUFID"
                            "RILSINRIQDIRRISKJMDJODJPYKESKGS"
                            "KHRKMFKPWKRWKWDKYDKZTLAKLBPLKRLRDLSLLYDMADMDLMGAMKDMMKMNTMOPMRUMURMVRMWKMXNMXVMY"
                            "RMZNNADNGNNIONOKNPRNZDOMRPABPEN"
                            "PGKPHPPKRPLNPYGQARRONRSDRUBRWFSARSBDSCRSDGSEKSGDSHPSLESOSSRDSSPSTNSVCSYPSZLTHBTJ"
                            "STMTTNDTOPTRYTTDTWDTZSUAHUGXUSD"
                            "USNUYIUYUUYWUZSVEDVESVNDVUVWSTXAFXCDXOFXPFYERZARZMWZWGZWL";

bool quality_currency_known(struct text currency)
{
    if (currency.size != 3)
        return false;
    for (size_t i = 0; i + 3 < sizeof CODES; i += 3)
        if (memcmp(CODES + i, currency.data, 3) == 0)
            return true;
    return false;
}
