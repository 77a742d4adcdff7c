/*
 * watch.h: signs of life. A thread of every rank and one of rank 0 tell each other by TCP, once a second and apart from MPI,
 * that they are there: a thread that stands still in MPI, in a file system or in a GPU's driver does not hide its process.
 * A rank that says nothing for too long (it is stopped, or its machine is lost), or that ends without a word, is named on
 * stderr with its machine, half of that time before, too, and the job is ended: by the launcher, and where that does not happen, by each rank itself.
 */
#ifndef IDREC_CORE_COMM_WATCH_H
#define IDREC_CORE_COMM_WATCH_H

#include "core/comm/comm_calls.h"
#include "core/comm/tcp.h"

struct watch;

/* The exit status of a job that ends because a rank was lost. */
enum { WATCH_LOST_STATUS = 75 };

/* How long a rank may be silent: of rank 0's environment, in seconds; 0: nobody watches. */
#define WATCH_VARIABLE "IDREC_SILENCE_SECONDS"
enum { WATCH_SECONDS = 20, WATCH_SECONDS_LEAST = 2, WATCH_SECONDS_MOST = 86400 };
/* A limit of the environment, `usual` where it says nothing; without: what is so where it is 0, for the error. */
bool watch_read_limit(const char *variable, int usual, const char *without, double *seconds,
                      struct error *error);

/* All ranks of a job of several call it; sets communicator->watch, or leaves it NULL where nobody is to watch. */
bool watch_open(struct communicator *communicator, struct error *error);
/* This rank is done: the others need not hear of it any more. NULL is fine. */
void watch_close(struct watch *watch);
/* This rank ends the job for a reason that it has told. NULL is fine. */
void watch_tell_end(struct watch *watch);

/* ---- watch_links.c ------------------------------------------------------------------------------------------- */

/* What rank 0 tells the others. */
struct invitation {
    double silence_seconds;
    struct tcp_place place;
};

/* Rank 0: opens *listener, and says where it is. */
bool links_listen(const struct communicator *communicator, struct invitation *invitation, int *listener,
                  struct error *error);
/* Rank 0: sockets[rank] = the link with it, once it has come. */
bool links_accept(const struct communicator *communicator, const struct invitation *invitation, int listener,
                  int *sockets /* [size], -1 */, struct error *error);
/* The other ranks: *link = the one with rank 0. */
bool links_connect(const struct communicator *communicator, const struct invitation *invitation, int *link,
                   struct error *error);

#endif
