/*
 * machine.h - what the tools ask this machine: ports, processes, memory, disk. Linux's /proc.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Can a server listen on this loopback port now? */
bool machine_port_is_free(int port);
/* Does somebody listen there? */
bool machine_port_answers(int port);
/* `count` free ports in a row, outside of the range from which the system gives ports to clients; 0: none
 * found. seed spreads homes over the range. */
int machine_find_ports(uint32_t seed, int count);
/* "pid 123 (nginx)" for whoever listens on a port, or "another process". */
void machine_port_owner(int port, char *to, size_t size);

/* Resident memory in KiB of a process and its children (Postgres is many); 0: gone. */
int64_t machine_rss_kib(pid_t pid);
/* Whether the process carries LENS_STACK=home, which the supervisor gives to all that it starts. */
bool machine_is_of_stack(pid_t pid, const char *home);
/* Calls each for every such process but ourselves. Returns how many. */
int machine_each_of_stack(const char *home, void (*each)(void *arg, pid_t pid), void *arg);
/* The program file was replaced after the process had started. */
bool machine_program_is_gone(pid_t pid);
/* MiB free for us on the file system of path; -1: cannot be told. */
int64_t machine_disk_free_mib(const char *path);
/* Sleeps a little between two questions to something that cannot tell when it is ready. */
void machine_pause_ms(int ms);
