#include "producers/import/output.h"

static struct text transaction_key(const struct transaction *transaction)
{
    if (!text_empty(transaction->customer_id))
        return transaction->customer_id;
    if (!text_empty(transaction->original_transaction_id))
        return transaction->original_transaction_id;
    return transaction->transaction_id;
}

struct text output_key(const struct event *event)
{
    switch (event->kind) {
    case EVENT_TRANSACTION:
        return transaction_key(&event->transaction);
    case EVENT_CUSTOMER:
        return event->customer.customer_id;
    case EVENT_PRODUCT:
        return event->product.product_id;
    case EVENT_STORE:
        return event->store.store_id;
    case EVENT_PROMOTION:
        return event->promotion.promotion_id;
    case EVENT_INVENTORY:
        return event->inventory.product_id;
    case EVENT_TRANSACTION_VALID:
    case EVENT_CONTROL:
    case EVENT_LOYALTY_RULES:
    case EVENT_LEDGER:
    case EVENT_COMMAND:
    case EVENT_SEGMENT_CHANGE:
    case EVENT_KINDS:
        break;
    }
    return (struct text){0};
}

static void count_transaction(struct import_counts *counts, const struct transaction *transaction)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < transaction->line_count; i++)
        sum += (uint64_t)transaction->lines[i].amount_minor;
    switch (transaction->type) {
    case TRANSACTION_SALE:
        counts->sales++;
        counts->net_minor = (int64_t)((uint64_t)counts->net_minor + sum);
        break;
    case TRANSACTION_RETURN:
        counts->returns++;
        counts->net_minor = (int64_t)((uint64_t)counts->net_minor - sum);
        break;
    case TRANSACTION_VOID:
        counts->voids++;
        break;
    }
}

enum ll_status output_event(struct output *output, enum topic topic, const struct event *event, int64_t rows,
                            struct ll_err *err)
{
    enum ll_status status = output->sink.event(output->sink.self, topic, output_key(event), event, err);
    if (status != LL_OK)
        return status;
    struct import_counts *counts = &output->counts;
    counts->outputs++;
    counts->events[topic]++;
    counts->lines_good += rows;
    if (event->kind == EVENT_TRANSACTION)
        count_transaction(counts, &event->transaction);
    return LL_OK;
}

enum ll_status output_dead(struct output *output, const struct dead_row *row, struct ll_err *err)
{
    enum ll_status status = output->sink.dead(output->sink.self, row, err);
    if (status != LL_OK)
        return status;
    struct import_counts *counts = &output->counts;
    counts->outputs++;
    counts->lines_bad++;
    for (int code = 1; code < CODE_COUNT; code++)
        if ((row->codes & code_bit((enum code)code)) != 0)
            counts->bad_by_code[code]++;
    return LL_OK;
}
