/* lens.conf: what is accepted can be printed, and is then valid JSON. */
#include "tests/fuzz/fuzz.h"

#include "runtime/config.h"

#include <jansson.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    return setenv("LENS_HOME", "/nonexistent/lens", 1);
}

static char *printed(const struct config *config, bool json)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    config_print(config, json, to);
    fuzz_claim(fclose(to) == 0 && size > 0, "nothing is printed");
    fuzz_claim_inert((struct text){ text, (uint32_t)size }, "lens config");
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config config;
    struct ll_err err = { "" };
    const char *path = fuzz_file(0, (struct text){ (const char *)data, (uint32_t)size });
    if (config_load(path, &config, &err) != LL_OK) {
        fuzz_claim(err.text[0] != '\0', "refused without a word");
        return 0;
    }
    free(printed(&config, false));
    char *text = printed(&config, true);
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    fuzz_claim(json_is_object(json), "no JSON: %s", text);
    json_decref(json);
    free(text);
    return 0;
}
