/*
 * Planted bugs, in test programs alone: who decodes a value with the word LENS_KILLER in it dies, and with LENS_HANGER never comes back. Linked with --wrap=codec_read
 * over the very objects of lens-validate and lens-accrue.
 */
#include "schemas/codec.h"

#include <signal.h>
#include <stdbool.h>
#include <string.h>

enum ll_status __real_codec_read(struct codec *codec, enum event_kind kind, struct text value, struct codec_scratch *scratch,
                                 struct event *ret, enum code *ret_code, struct ll_err *err);
enum ll_status __wrap_codec_read(struct codec *codec, enum event_kind kind, struct text value, struct codec_scratch *scratch,
                                 struct event *ret, enum code *ret_code, struct ll_err *err);

enum ll_status __wrap_codec_read(struct codec *codec, enum event_kind kind, struct text value, struct codec_scratch *scratch,
                                 struct event *ret, enum code *ret_code, struct ll_err *err)
{
    if (value.data != NULL && memmem(value.data, value.size, LENS_KILLER, strlen(LENS_KILLER)) != NULL)
        raise(SIGKILL); /* no handler, no last word: as a stack that has run over, or memory that is not there */
    volatile bool for_ever = value.data != NULL && memmem(value.data, value.size, LENS_HANGER, strlen(LENS_HANGER)) != NULL;
    while (for_ever)
        ;
    return __real_codec_read(codec, kind, value, scratch, ret, ret_code, err);
}
