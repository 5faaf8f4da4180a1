#include "consumers/accrue/decide.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct decider {
    struct codec *codec;
    struct rulebook *book;
    struct calendar *calendar;
    struct decide_settings settings;
    struct codec_scratch *scratch; /* of held returns that are released */
    /* Scratch of the posting that is made, and of those that are looked back at. */
    struct posting_line lines[POSTING_LINES_MAX], read_lines[POSTING_LINES_MAX];
    struct posting_rule rules[POSTING_RULES_MAX * 2], read_rules[POSTING_RULES_MAX];
    struct rule_line rule_lines[EVENT_LINES_MAX];
    struct rule_points points[RULES_MAX];
};

/* The record that is being decided; seq counts the rows that it causes. */
struct cause {
    struct decider *decider;
    struct partition *partition;
    const struct decide_input *input;
    int32_t seq;
};

struct decider *decider_new(struct codec *codec, struct rulebook *book, struct calendar *calendar,
                            const struct decide_settings *settings)
{
    struct decider *decider = calloc(1, sizeof *decider);
    if (decider == NULL)
        abort();
    decider->codec = codec;
    decider->book = book;
    decider->calendar = calendar;
    decider->settings = *settings;
    decider->scratch = codec_scratch_new();
    return decider;
}

void decider_free(struct decider *decider)
{
    if (decider == NULL)
        return;
    codec_scratch_free(decider->scratch);
    free(decider);
}

/* validate lets no other amounts through; but a topic can be written by anybody who may. */
static enum code amounts_code(const struct transaction *transaction)
{
    int64_t sum_minor = 0;
    for (uint32_t i = 0; i < transaction->line_count; i++) {
        if (transaction->lines[i].amount_minor <= 0)
            return CODE_AMOUNT_NOT_POSITIVE;
        if (__builtin_add_overflow(sum_minor, transaction->lines[i].amount_minor, &sum_minor))
            return CODE_AMOUNT_OVERFLOW;
    }
    return CODE_NONE;
}

enum ll_status decide_decode(struct codec *codec, struct codec_scratch *scratch, struct decide_input *input,
                             struct ll_err *err)
{
    struct event event;
    enum event_kind kind;
    enum ll_status status = codec_kind(codec, input->value, &kind, &input->code, err);
    input->is_control = status == LL_OK && kind == EVENT_CONTROL;
    if (status == LL_OK) {
        kind = input->is_control ? EVENT_CONTROL : EVENT_TRANSACTION_VALID;
        status = codec_read(codec, kind, input->value, scratch, &event, &input->code, err);
    }
    if (status == LL_POISON) {
        input->is_control = false;
        return LL_OK;
    }
    if (status != LL_OK)
        return status;
    input->code = CODE_NONE;
    if (input->is_control) {
        input->control = event.control;
        return LL_OK;
    }
    input->transaction = event.transaction;
    const struct transaction *tx = &input->transaction;
    input->code = amounts_code(tx);
    if (input->code != CODE_NONE)
        return LL_OK;
    input->customer_hash = text_empty(tx->customer_id) ? 0 : accounts_hash(tx->customer_id);
    input->identity_hash = transaction_identity_hash(tx->source, tx->type, tx->transaction_id);
    input->sale_hash = tx->type == TRANSACTION_SALE || text_empty(tx->original_transaction_id)
                           ? input->identity_hash
                           : transaction_identity_hash(tx->source, TRANSACTION_SALE, tx->original_transaction_id);
    return LL_OK;
}

static bool names_sale(const struct decide_input *input) { return input->sale_hash != input->identity_hash; }

/* Does one of the hits lie in the ledger? Those that are not committed yet are found in memory, never asked for. */
static bool is_committed(const struct partition *partition, const int64_t *hits, size_t hit_count)
{
    for (size_t i = 0; i < hit_count; i++)
        if (hits[i] < partition->flushed_next)
            return true;
    return false;
}

struct text decide_needs(struct decider *decider, struct partition *partition, struct decide_input *input)
{
    input->needs_identity = input->needs_sale = false;
    if (input->is_control || input->code != CODE_NONE)
        return (struct text){ 0 };
    const struct transaction *tx = &input->transaction;
    const struct identities *identities = &partition->identities;
    int64_t hits[IDENTITY_HITS_MAX];
    size_t hit_count = identities_find(identities, input->identity_hash, hits);
    /* A hit that is not committed may be another identity's, and says nothing of the ledger. */
    input->needs_identity =
        is_committed(partition, hits, hit_count) ||
        (!identities->complete &&
         (tx->type != TRANSACTION_SALE || tx->attempt > 0 ||
          !identities_miss_is_final(identities, tx->event_time_ms - decider->settings.skew_ms)));

    if (names_sale(input)) {
        struct sale *sale = sales_add(&partition->sales, input->sale_hash, tx->source, tx->original_transaction_id);
        hit_count = identities_find(identities, input->sale_hash, hits);
        input->needs_sale =
            !sale->exists && (is_committed(partition, hits, hit_count) || !identities->complete);
    }
    if (text_empty(tx->customer_id))
        return (struct text){ 0 };
    accounts_prefetch_account(&partition->accounts, input->customer_hash);
    if (partition->accounts.complete ||
        accounts_find(&partition->accounts, tx->customer_id, input->customer_hash) != NULL)
        return (struct text){ 0 };
    return tx->customer_id;
}

void decide_found(struct partition *partition, const struct posting *posting)
{
    partition_take_prior(partition, posting);
    if (posting->offset >= partition->flushed_next)
        return;
    struct sale *sale = sales_find(&partition->sales, posting->sale_hash, posting->source,
                                   posting->sale_id.data != NULL ? posting->sale_id : posting->transaction_id);
    if (sale != NULL)
        sale_fold(sale, posting);
}

/* ---- refusing and holding ---- */

static struct kept_record kept_of(const struct cause *cause, const struct decide_input *input)
{
    const struct transaction *tx = &input->transaction;
    struct kept_record record = {
        .offset = input->offset,
        .event_offset = input->offset,
        .timestamp_ms = input->timestamp_ms,
        .since_ms = cause->partition->clock_ms,
        .key = input->key,
        .value = input->value,
        .headers = input->headers,
    };
    if (input->code != CODE_NONE)
        return record;
    record.identity_hash = input->identity_hash;
    record.content_hash = tx->content_hash;
    record.sale_hash = input->sale_hash;
    record.source = tx->source;
    record.transaction_id = tx->transaction_id;
    record.raw_topic = tx->raw_topic;
    record.raw_partition = tx->raw_partition;
    record.raw_offset = tx->raw_offset;
    return record;
}

/* A refused event releases its identity, so that a mended copy can be taken: it is simply never added. */
static void refuse(struct cause *cause, struct kept_record record, enum code code, const char *message)
{
    record.offset = cause->input->offset;
    record.seq = cause->seq++;
    record.since_ms = cause->partition->clock_ms;
    record.codes = code_bit(code);
    record.message = text_of(message);
    pending_kill(cause->partition->filling, &record);
    cause->partition->counts.dead++;
}

static void hold(struct cause *cause)
{
    struct partition *partition = cause->partition;
    struct kept_record record = kept_of(cause, cause->input);
    held_add(&partition->held, &record);
    pending_hold(partition->filling, &record);
    identities_add(&partition->identities, record.identity_hash, record.offset, partition->clock_ms);
    partition->counts.held++;
}

static void let_go(struct cause *cause, struct held *held)
{
    struct partition *partition = cause->partition;
    pending_release(partition->filling, held->record.event_offset);
    held_remove(&partition->held, held);
    partition->counts.held--;
}

/* Held returns whose time is up, by the log's clock. */
static void expire(struct cause *cause)
{
    struct partition *partition = cause->partition;
    for (struct held *held; (held = partition->held.first) != NULL &&
                            partition->clock_ms - held->record.since_ms >= cause->decider->settings.hold_ms;) {
        identities_remove(&partition->identities, held->record.identity_hash, held->record.event_offset);
        refuse(cause, held->record, CODE_ORPHAN_RETURN, "its sale did not come within the holding time");
        let_go(cause, held);
    }
}

/* ---- posting ---- */

/* What the rules of a version give for these lines; sets the posting's rules and points to it, less what was posted before.
 * False: beyond POINTS_MAX. */
static bool price(struct cause *cause, struct posting *posting, int32_t version, size_t rule_line_count,
                  const struct posting_rule *posted, size_t posted_count)
{
    struct decider *decider = cause->decider;
    const struct rule_set *rules = rulebook_rules(decider->book, version);
    size_t count = 0;
    if (rules != NULL) {
        const struct rule_sale sale = { decider->rule_lines, rule_line_count, posting->store_id, posting->sale_day,
                                        calendar_weekday(posting->sale_day) };
        int64_t sum;
        if (rules_evaluate(rules, &sale, decider->points, &count, &sum, NULL) != LL_OK)
            return false;
    }
    posting->rules = decider->rules;
    posting->rule_count = 0;
    posting->points = 0;
    for (size_t i = 0; i < count; i++)
        decider->rules[posting->rule_count++] =
            (struct posting_rule){ decider->points[i].rule_id, decider->points[i].points };
    for (size_t i = 0; i < posted_count; i++) {
        size_t at = 0;
        while (at < posting->rule_count && decider->rules[at].rule_id != posted[i].rule_id)
            at++;
        if (at == posting->rule_count)
            decider->rules[posting->rule_count++] = (struct posting_rule){ posted[i].rule_id, 0 };
        decider->rules[at].points -= posted[i].points;
    }
    /* Rules whose share did not change say nothing. */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < posting->rule_count; i++) {
        if (decider->rules[i].points == 0)
            continue;
        posting->points += decider->rules[i].points;
        decider->rules[kept++] = decider->rules[i];
    }
    posting->rule_count = kept;
    return true;
}

static struct posting posting_of(const struct cause *cause, const struct decide_input *input)
{
    const struct transaction *tx = &input->transaction;
    return (struct posting){
        .run = cause->decider->settings.run,
        .partition = cause->partition->number,
        .offset = cause->input->offset,
        .event_offset = input->offset,
        .identity_hash = input->identity_hash,
        .content_hash = tx->content_hash,
        .source = tx->source,
        .type = tx->type,
        .transaction_id = tx->transaction_id,
        .sale_hash = input->sale_hash,
        .customer_id = text_empty(tx->customer_id) ? (struct text){ 0 } : tx->customer_id,
        .store_id = tx->store_id,
        .event_time_ms = tx->event_time_ms,
        .posted_at_ms = cause->partition->clock_ms,
        .raw_topic = tx->raw_topic,
        .raw_partition = tx->raw_partition,
        .raw_offset = tx->raw_offset,
    };
}

static void post(struct cause *cause, struct posting *posting, uint64_t customer_hash)
{
    struct partition *partition = cause->partition;
    posting->seq = cause->seq++;
    struct account *account = NULL;
    if (posting->customer_id.data != NULL) {
        account = partition_name(partition, posting->customer_id, customer_hash);
        bool overflow = __builtin_add_overflow(account->points, posting->points, &account->points);
        assert(!overflow); /* POINTS_MAX bounds each posting: 9 million of the largest would be needed */
    }
    pending_post(partition->filling, posting, &partition->accounts, account);
    partition->counts.credited++;
}

/* A sale, or a return that names no sale: worth what the rules in force at its own time give for its lines. */
static bool post_alone(struct cause *cause)
{
    struct decider *decider = cause->decider;
    struct partition *partition = cause->partition;
    const struct decide_input *input = cause->input;
    const struct transaction *tx = &input->transaction;
    bool is_sale = tx->type == TRANSACTION_SALE;
    struct posting posting = posting_of(cause, input);
    posting.sale_day = calendar_day(decider->calendar, tx->event_time_ms);
    posting.rules_version = rulebook_in_force(decider->book, partition->rules_version, tx->event_time_ms);
    posting.lines = decider->lines;
    posting.line_count = tx->line_count;
    for (uint32_t i = 0; i < tx->line_count; i++) {
        const struct line *line = &tx->lines[i];
        int64_t effect_minor = is_sale ? line->amount_minor : -line->amount_minor;
        decider->lines[i] =
            (struct posting_line){ line->product_id, line->category, line->promotion_id, effect_minor, 0 };
        decider->rule_lines[i] =
            (struct rule_line){ line->product_id, line->category, line->promotion_id, line->amount_minor };
        posting.net_minor += effect_minor;
    }
    bool earns = posting.customer_id.data != NULL && (is_sale || decider->settings.reverse_unreferenced);
    if (!price(cause, &posting, earns ? posting.rules_version : 0, tx->line_count, NULL, 0)) {
        refuse(cause, kept_of(cause, input), CODE_POINTS_OVERFLOW, "the points of the event are beyond their limit");
        return false;
    }
    if (!is_sale) {
        posting.points = -posting.points;
        for (uint32_t i = 0; i < posting.rule_count; i++)
            posting.rules[i].points = -posting.rules[i].points;
    }
    if (earns && posting.rules_version == 0)
        posting.warnings |= code_bit(CODE_RULES_MISSING);
    post(cause, &posting, input->customer_hash);
    return true;
}

/* A return or void of a sale that is there. input is the record itself, or a held one that the record releases. */
static bool post_against(struct cause *cause, const struct decide_input *input, struct sale *sale)
{
    struct decider *decider = cause->decider;
    const struct transaction *tx = &input->transaction;
    struct text customer_id = text_empty(tx->customer_id) ? (struct text){ 0 } : tx->customer_id;
    if (!text_equal(customer_id, sale->customer_id)) {
        char message[160];
        snprintf(message, sizeof message, "the sale is of customer \"%.*s\", the return names \"%.*s\"",
                 TEXT_ARG(sale->customer_id), TEXT_ARG(customer_id));
        refuse(cause, kept_of(cause, input), CODE_RETURN_CUSTOMER, message);
        return false;
    }
    struct posting posting = posting_of(cause, input);
    bool excess;
    posting.lines = decider->lines;
    posting.line_count = (uint32_t)sale_give_back(sale, tx, decider->lines, &excess);
    posting.sale_id = sale->transaction_id;
    posting.store_id = sale->store_id;
    posting.sale_day = sale->day;
    posting.rules_version = sale->rules_version;
    for (uint32_t i = 0; i < posting.line_count; i++)
        posting.net_minor += posting.lines[i].amount_minor;
    if (excess)
        posting.warnings |= code_bit(CODE_REFUND_EXCESS);
    for (size_t i = 0; i < sale->line_count; i++)
        decider->rule_lines[i] = (struct rule_line){ sale->lines[i].product_id, sale->lines[i].category,
                                                     sale->lines[i].promotion_id, sale->lines[i].net_minor };
    int32_t version = sale->customer_id.data != NULL ? sale->rules_version : 0;
    if (!price(cause, &posting, version, sale->line_count, sale->posted, sale->posted_count)) {
        /* Less is bought, and another rule wins that gives more than may be given: then it gives nothing. A refusal would
         * depend on the order of returns. */
        price(cause, &posting, 0, 0, sale->posted, sale->posted_count);
        posting.warnings |= code_bit(CODE_POINTS_OVERFLOW);
    }
    post(cause, &posting, input->customer_hash);

    /* sale_give_back has taken the lines in already; the points follow. */
    for (uint32_t i = 0; i < posting.rule_count; i++) {
        size_t at = 0;
        while (at < sale->posted_count && sale->posted[at].rule_id != posting.rules[i].rule_id)
            at++;
        if (at == sale->posted_count)
            sale->posted[sale->posted_count++] = (struct posting_rule){ posting.rules[i].rule_id, 0 };
        sale->posted[at].points += posting.rules[i].points;
    }
    sale->last_offset = posting.offset;
    sale->last_seq = posting.seq;
    return true;
}

/* ---- looking back ---- */

struct fold {
    struct sale *sale;
};

static void fold_pending(void *arg, const struct posting *posting)
{
    struct fold *fold = arg;
    if (sale_owns(fold->sale, posting))
        sale_fold(fold->sale, posting);
}

/* The sale that input names, if it is there: asked for before, or still pending. A return that was posted since its sale
 * is known has gone through the same struct sale, so a pending sale has no pending return that is not folded in. */
static struct sale *sale_of(struct cause *cause, const struct decide_input *input)
{
    struct decider *decider = cause->decider;
    struct partition *partition = cause->partition;
    const struct transaction *tx = &input->transaction;
    struct sale *sale = sales_add(&partition->sales, input->sale_hash, tx->source, tx->original_transaction_id);
    if (sale->exists)
        return sale;
    int64_t hits[IDENTITY_HITS_MAX];
    size_t hit_count = identities_find(&partition->identities, input->sale_hash, hits);
    struct fold fold = { sale };
    for (size_t i = 0; i < hit_count; i++)
        if (hits[i] >= partition->flushed_next)
            partition_pending_at(partition, hits[i], decider->read_lines, decider->read_rules, fold_pending, &fold);
    return sale->exists ? sale : NULL;
}

enum standing { STANDING_NEW, STANDING_DUPLICATE, STANDING_CONFLICT };

struct comparison {
    const struct transaction *transaction;
    enum standing standing;
};

static void compare(struct comparison *comparison, enum transaction_type type, struct text source,
                    struct text transaction_id, int64_t content_hash)
{
    const struct transaction *tx = comparison->transaction;
    if (type == tx->type && text_equal(source, tx->source) && text_equal(transaction_id, tx->transaction_id))
        comparison->standing = content_hash == tx->content_hash ? STANDING_DUPLICATE : STANDING_CONFLICT;
}

static void compare_pending(void *arg, const struct posting *posting)
{
    compare(arg, posting->type, posting->source, posting->transaction_id, posting->content_hash);
}

/* Was this identity accepted before, and with the same content? */
static enum standing standing_of(struct cause *cause)
{
    struct decider *decider = cause->decider;
    struct partition *partition = cause->partition;
    const struct decide_input *input = cause->input;
    struct comparison comparison = { &input->transaction, STANDING_NEW };
    int64_t hits[IDENTITY_HITS_MAX];
    size_t hit_count = identities_find(&partition->identities, input->identity_hash, hits);
    for (size_t i = 0; i < hit_count; i++)
        if (hits[i] >= partition->flushed_next)
            partition_pending_at(partition, hits[i], decider->read_lines, decider->read_rules, compare_pending,
                                 &comparison);
    for (size_t i = 0; i < partition->prior_count; i++) {
        const struct prior *prior = &partition->priors[i];
        if (prior->identity_hash == input->identity_hash)
            compare(&comparison, prior->type, prior->source, prior->transaction_id, prior->content_hash);
    }
    for (struct held *held = held_of_identity(&partition->held, input->identity_hash); held != NULL;
         held = held_next_of_identity(held))
        compare(&comparison, input->transaction.type, held->record.source, held->record.transaction_id,
                held->record.content_hash);
    return comparison.standing;
}

/* The sale has just come: the returns that waited for it are posted behind it, in the order of their offsets. */
static void release(struct cause *cause)
{
    struct decider *decider = cause->decider;
    struct partition *partition = cause->partition;
    for (struct held *held = held_of_sale(&partition->held, cause->input->identity_hash), *later; held != NULL;
         held = later) {
        later = held_next_of_sale(held);
        struct decide_input input = { .offset = held->record.event_offset,
                                      .timestamp_ms = held->record.timestamp_ms,
                                      .key = held->record.key,
                                      .value = held->record.value,
                                      .headers = held->record.headers };
        enum ll_status status = decide_decode(decider->codec, decider->scratch, &input, NULL);
        assert(status == LL_OK && input.code == CODE_NONE); /* it was decoded before it was held */
        const struct transaction *tx = &input.transaction;
        const struct transaction *sale_tx = &cause->input->transaction;
        if (!text_equal(tx->source, sale_tx->source) ||
            !text_equal(tx->original_transaction_id, sale_tx->transaction_id))
            continue; /* another sale with the same fingerprint */
        struct sale *sale = sale_of(cause, &input);
        assert(sale != NULL);
        if (post_against(cause, &input, sale))
            identities_move(&partition->identities, input.identity_hash, input.offset, cause->input->offset);
        else
            identities_remove(&partition->identities, input.identity_hash, input.offset);
        let_go(cause, held);
    }
}

/* ---- one record ---- */

static void decide_transaction(struct cause *cause)
{
    struct partition *partition = cause->partition;
    const struct decide_input *input = cause->input;
    const struct transaction *tx = &input->transaction;
    /* Named even if nothing changes: after a replay Redis must hear of every customer of the lost batches. */
    if (!text_empty(tx->customer_id))
        partition_name(partition, tx->customer_id, input->customer_hash);
    switch (standing_of(cause)) {
    case STANDING_DUPLICATE:
        partition->counts.duplicate++;
        return;
    case STANDING_CONFLICT:
        refuse(cause, kept_of(cause, input), CODE_DUPLICATE_CONFLICT,
               "the identity (source, type, transaction_id) was accepted before with other content");
        return;
    case STANDING_NEW:
        break;
    }
    if (!names_sale(input)) {
        if (!post_alone(cause))
            return;
        identities_add(&partition->identities, input->identity_hash, input->offset, partition->clock_ms);
        if (tx->type == TRANSACTION_SALE && partition->held.count > 0)
            release(cause);
        return;
    }
    struct sale *sale = sale_of(cause, input);
    if (sale == NULL)
        hold(cause);
    else if (post_against(cause, input, sale))
        identities_add(&partition->identities, input->identity_hash, input->offset, partition->clock_ms);
}

void decide_record(struct decider *decider, struct partition *partition, const struct decide_input *input)
{
    struct cause cause = { decider, partition, input, 0 };
    if (input->timestamp_ms > partition->clock_ms)
        partition->clock_ms = input->timestamp_ms;
    if (partition->held.count > 0)
        expire(&cause);
    partition->counts.read++;
    partition->filling->events++;
    if (input->code != CODE_NONE) {
        refuse(&cause, kept_of(&cause, input), input->code, code_info(input->code)->meaning);
    } else if (input->is_control) {
        partition->counts.control++;
        if (input->control.kind == CONTROL_RULES && input->control.rules_version > partition->rules_version)
            partition->rules_version = input->control.rules_version;
    } else {
        decide_transaction(&cause);
    }
    partition->next = input->offset + 1;
}
