#include "runtime/kafka.h"
#include "runtime/kafka_admin.h"

#include <stdio.h>
#include <stdlib.h>

static rd_kafka_AclBinding_t *binding_of(const struct kafka_right *right, const char *user, char *words,
                                         size_t size)
{
    static const struct {
        rd_kafka_ResourceType_t on;
        rd_kafka_AclOperation_t operation;
    } acts[] = {
        [KAFKA_READ_TOPIC] = { RD_KAFKA_RESOURCE_TOPIC, RD_KAFKA_ACL_OPERATION_READ },
        [KAFKA_WRITE_TOPIC] = { RD_KAFKA_RESOURCE_TOPIC, RD_KAFKA_ACL_OPERATION_WRITE },
        [KAFKA_READ_GROUP] = { RD_KAFKA_RESOURCE_GROUP, RD_KAFKA_ACL_OPERATION_READ },
        [KAFKA_DESCRIBE_GROUP] = { RD_KAFKA_RESOURCE_GROUP, RD_KAFKA_ACL_OPERATION_DESCRIBE },
    };
    return rd_kafka_AclBinding_new(
        acts[right->act].on, right->name,
        right->is_prefix ? RD_KAFKA_RESOURCE_PATTERN_PREFIXED : RD_KAFKA_RESOURCE_PATTERN_LITERAL, user, "*",
        acts[right->act].operation, RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, words, size);
}

static enum ll_status judge(const struct kafka_admin *admin, rd_kafka_event_t *answer, struct ll_err *err)
{
    size_t count = 0;
    const rd_kafka_acl_result_t **results =
        rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(answer), &count);
    for (size_t at = 0; at < count; at++) {
        const rd_kafka_error_t *error = rd_kafka_acl_result_error(results[at]);
        if (error != NULL)
            return kafka_fail(&admin->client, err, rd_kafka_error_code(error), rd_kafka_error_string(error));
    }
    return LL_OK;
}

enum ll_status kafka_admin_grant(struct kafka_admin *admin, const char *user,
                                 const struct kafka_right *rights, size_t count, int timeout_ms,
                                 struct ll_err *err)
{
    char words[160] = "";
    rd_kafka_AclBinding_t **bindings = calloc(count, sizeof *bindings);
    if (bindings == NULL)
        abort();
    enum ll_status status = LL_OK;
    size_t made = 0;
    for (; made < count && status == LL_OK; made++) {
        bindings[made] = binding_of(&rights[made], user, words, sizeof words);
        if (bindings[made] == NULL) {
            status = ll_fail(err, LL_FATAL, "a right of %s on %s: %s", user, rights[made].name, words);
            break;
        }
    }
    if (status == LL_OK) {
        rd_kafka_AdminOptions_t *options =
            kafka_admin_options(admin, RD_KAFKA_ADMIN_OP_CREATEACLS, timeout_ms);
        rd_kafka_CreateAcls(admin->client.rk, bindings, count, options, admin->answers);
        rd_kafka_AdminOptions_destroy(options);
        rd_kafka_event_t *answer =
            kafka_admin_answer(admin, RD_KAFKA_EVENT_CREATEACLS_RESULT, timeout_ms, "rights", &status, err);
        if (answer != NULL) {
            status = judge(admin, answer, err);
            rd_kafka_event_destroy(answer);
        }
    }
    rd_kafka_AclBinding_destroy_array(bindings, made);
    free(bindings);
    return status;
}
