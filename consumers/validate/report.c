#include "consumers/validate/loop.h"

#include <stdio.h>
#include <string.h>

static const char *const OUTCOMES[OUTCOME_COUNT] = {
    [OUTCOME_VALID] = "valid",
    [OUTCOME_DEAD] = "dead",
    [OUTCOME_RETRY] = "retry",
    [OUTCOME_LINE_DEAD] = "line_dead",
};

static const char *const KINDS[REFERENCE_KINDS] = {
    [REFERENCE_STORE] = "store",
    [REFERENCE_PRODUCT] = "product",
    [REFERENCE_CUSTOMER] = "customer",
    [REFERENCE_PROMOTION] = "promotion",
};

void report_init(struct validate *v)
{
    static const double COMMIT_MS[] = {5, 10, 20, 50, 100, 200, 500, 1000, 5000};
    struct process *process = v->needs.process;
    char labels[128];
    if (process == NULL)
        return;
    for (size_t i = 0; i < VALIDATE_TOPIC_COUNT; i++)
        for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++) {
            enum topic topic = VALIDATE_TOPICS[i];
            if (topic == TOPIC_TRANSACTIONS_RETRY ||
                (topic != TOPIC_TRANSACTIONS && (outcome == OUTCOME_RETRY || outcome == OUTCOME_LINE_DEAD)))
                continue;
            snprintf(labels, sizeof labels, "topic=\"%s\",outcome=\"%s\"", topic_name(topic),
                     OUTCOMES[outcome]);
            v->metrics.outcomes[topic][outcome] =
                metric_counter(process, "lens_validate_records_total", labels,
                               "Raw records (line_dead: lines) by what became of them.");
        }
    for (int code = 1; code < CODE_COUNT; code++) {
        const struct code_info *info = code_info((enum code)code);
        if (info->scope == CODE_ROW || info->scope == CODE_POINTS || info->scope == CODE_PROCESS)
            continue;
        snprintf(labels, sizeof labels, "code=\"%s\"", info->name);
        v->metrics.codes[code] = metric_counter(process, "lens_validate_codes_total", labels,
                                                "Rules broken: a record counts once for each.");
    }
    for (int kind = 0; kind < REFERENCE_KINDS; kind++) {
        snprintf(labels, sizeof labels, "kind=\"%s\"", KINDS[kind]);
        v->metrics.references[kind] =
            metric_gauge(process, "lens_validate_references", labels, "Distinct ids in the reference store.");
    }
    v->metrics.commit_ms = metric_histogram(process, "lens_validate_commit_ms", NULL,
                                            "How long a Kafka transaction took to commit.", COMMIT_MS,
                                            sizeof COMMIT_MS / sizeof COMMIT_MS[0]);
    v->metrics.commits =
        metric_counter(process, "lens_validate_commits_total", NULL, "Kafka transactions committed.");
    v->metrics.aborts =
        metric_counter(process, "lens_validate_aborts_total", NULL, "Kafka transactions aborted.");
    v->metrics.waiting = metric_gauge(process, "lens_validate_waiting_records", NULL,
                                      "Records held until a reference, or the registry, is there.");
    v->metrics.paused = metric_gauge(process, "lens_validate_paused_partitions", NULL,
                                     "Partitions paused because too much was refused: lens resume.");
    v->metrics.rules =
        metric_gauge(process, "lens_validate_rules_version", NULL, "Highest rule set that was announced.");
}

void report_committed(struct validate *v, int64_t took_ms)
{
    for (int topic = 0; topic < TOPIC_COUNT; topic++)
        for (int outcome = 0; outcome < OUTCOME_COUNT; outcome++)
            if (v->tally.outcomes[topic][outcome] != 0)
                metric_add(v->metrics.outcomes[topic][outcome], v->tally.outcomes[topic][outcome]);
    for (int code = 1; code < CODE_COUNT; code++)
        if (v->tally.codes[code] != 0)
            metric_add(v->metrics.codes[code], v->tally.codes[code]);
    metric_add(v->metrics.commits, 1);
    metric_observe(v->metrics.commit_ms, (double)took_ms);
    v->tally = (struct tally){0};
}

void report_waits_for(struct validate *v, const char *what)
{
    if (what == NULL ? !v->waits : v->waits && strcmp(v->waits_for, what) == 0)
        return;
    v->waits = what != NULL;
    snprintf(v->waits_for, sizeof v->waits_for, "%s", what == NULL ? "" : what);
    if (v->needs.process != NULL)
        process_waits_for(v->needs.process, what); /* logs the change */
}

/* After a round without trouble: what is left to wait for is an operator, or nothing. */
void report_round(struct validate *v)
{
    size_t paused = parts_paused(v), waiting = parts_waiting(v);
    metric_set(v->metrics.waiting, (int64_t)waiting);
    metric_set(v->metrics.paused, (int64_t)paused);
    metric_set(v->metrics.rules, v->rules_version);
    for (int kind = 0; kind < REFERENCE_KINDS; kind++)
        metric_set(v->metrics.references[kind],
                   (int64_t)references_count(v->references, (enum reference_kind)kind));
    if (waiting == 0)
        v->registry_down = false;
    if (v->down || v->registry_down || steady_ms(v) < v->trouble_ms)
        return;
    char words[160];
    struct part *part = part_next(v, NULL);
    while (paused > 0 && part != NULL && !part->breaker.open)
        part = part_next(v, part);
    if (paused > 0 && part != NULL) {
        snprintf(words, sizeof words,
                 "an operator: %s/%d and %zu more are paused, too much was refused; lens resume",
                 topic_name(part->topic), part->partition, paused - 1);
        report_waits_for(v, words);
    } else if (v->phase == PHASE_LOADING) {
        report_waits_for(v, "references: reading what is known from its beginning");
    } else if (v->producer.ops == NULL) {
        report_waits_for(v, "kafka: the start of transactions");
    } else if (v->phase == PHASE_REFERENCES) {
        report_waits_for(v, v->assigned ? "references: what was sent before the sales is judged first"
                                        : "the group to give us partitions");
    } else {
        report_waits_for(v, NULL);
    }
}
