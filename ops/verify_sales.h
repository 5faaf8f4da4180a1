/*
 * verify_sales.h - what each sale is worth by the rules, against what was posted to it: an own computation beside the fold.
 * Shape:  every ledger row goes in, in any order; a sale and its returns and voids are summed as sets, priced once, compared.
 * Source: DESIGN 4: target(sale) = rules(lines of the sale - lines returned).
 */
#pragma once

#include "consumers/accrue/rulebook.h"
#include "ops/verify.h"
#include "state/posting.h"

struct verify_sales;

/* Asks the ledger which sales have returns; rules is borrowed. */
enum ll_status verify_sales_new(struct verify *verify, const struct rulebook *rules,
                                struct verify_sales **ret, struct ll_err *err);
void verify_sales_add(struct verify_sales *sales, const struct posting *posting);
/* Compares those with returns; frees. */
void verify_sales_end(struct verify_sales *takes);
