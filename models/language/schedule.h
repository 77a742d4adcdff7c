/*
 * schedule.h: the learning rate over a training: a linear warm-up, then one of three courses. It is a
 * function of the part of the training that is done, so it does not depend on where a run was resumed.
 */
#ifndef IDREC_MODELS_LANGUAGE_SCHEDULE_H
#define IDREC_MODELS_LANGUAGE_SCHEDULE_H

enum schedule_course {
    SCHEDULE_CONSTANT,
    SCHEDULE_LINEAR, /* falls linearly to final_share */
    SCHEDULE_COSINE  /* falls along half a cosine to final_share (Loshchilov and Hutter 2017) */
};

struct schedule {
    enum schedule_course course;
    double learning_rate; /* the highest */
    double warm_up;       /* share of the training in which it rises from 0 */
    double final_share;   /* of learning_rate, at the end */
};

/* SCHEDULE_COSINE when the name is none of "constant", "linear", "cosine". */
enum schedule_course schedule_course_from_name(const char *name);

/* The learning rate after `done` in [0, 1] of the training. */
double schedule_rate(const struct schedule *schedule, double done);

#endif
