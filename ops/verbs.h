/*
 * verbs.h - every noun's function, for the table in lens.c. argv[0] is the noun; the exit code comes back
 * (lens.h).
 */
#pragma once

#include "ops/lens.h"

int verb_up(struct lens *lens, int argc, char **argv);
int verb_down(struct lens *lens, int argc, char **argv);
int verb_status(struct lens *lens, int argc, char **argv);
int verb_env(struct lens *lens, int argc, char **argv);
int verb_doctor(struct lens *lens, int argc, char **argv);
int verb_wait(struct lens *lens, int argc, char **argv);
int verb_report(struct lens *lens, int argc, char **argv);
int verb_customer(struct lens *lens, int argc, char **argv);
int verb_ledger(struct lens *lens, int argc, char **argv);
int verb_dlq(struct lens *lens, int argc, char **argv);
int verb_verify(struct lens *lens, int argc, char **argv);
int verb_config(struct lens *lens, int argc, char **argv);
int verb_bench(struct lens *lens, int argc, char **argv);
int verb_rules(struct lens *lens, int argc, char **argv);
int verb_generate(struct lens *lens, int argc, char **argv);
int verb_import(struct lens *lens, int argc, char **argv);
int verb_mail(struct lens *lens, int argc, char **argv);
int verb_resume(struct lens *lens, int argc, char **argv);
int verb_segments(struct lens *lens, int argc, char **argv);
int verb_explain(struct lens *lens, int argc, char **argv);
