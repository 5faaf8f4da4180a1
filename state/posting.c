#include "state/posting.h"
size_t posting_read(const char *bytes, size_t size, struct posting_line *lines, struct posting_rule *rules,
                    struct posting *ret)
{
    (void)bytes; (void)size; (void)lines; (void)rules; (void)ret;
    return 0;
}
const char posting_columns[] = "";
